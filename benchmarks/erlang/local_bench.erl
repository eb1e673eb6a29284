%% Messages and processes of one node. Prints lines of a name and a number.
-module(local_bench).
-export([main/1, member/1]).

main(Arguments) ->
    [Ways, Trips, Hops, Spawns, Idle] = [list_to_integer(atom_to_list(A)) || A <- Arguments],
    rate("one_way", Ways, fun() -> one_way(Ways) end),
    rate("ping_pong", Trips, fun() -> ping_pong(Trips) end),
    rate("ring", Hops, fun() -> ring(1000, Hops) end),
    rate("spawn", Spawns, fun() -> spawns(Spawns) end),
    Before = resident(),
    Waiting = [spawn(fun() -> receive stop -> ok end end) || _ <- lists:seq(1, Idle)],
    io:format("idle ~p~n", [(resident() - Before) / Idle]),
    [P ! stop || P <- Waiting],
    halt().

%% In a process of its own, whose heap holds nothing yet.
rate(Name, Count, Run) ->
    Self = self(),
    spawn(fun() ->
        Start = erlang:monotonic_time(),
        Run(),
        Self ! {took, erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond)}
    end),
    receive {took, Took} -> io:format("~s ~p~n", [Name, Count * 1.0e9 / Took]) end.

one_way(Count) ->
    Self = self(),
    Sink = spawn(fun() -> count(Count), Self ! done end),
    send(Sink, Count),
    receive done -> ok end.

count(0) -> ok;
count(N) -> receive X when is_integer(X) -> count(N - 1) end.

send(_, 0) -> ok;
send(To, N) -> To ! N, send(To, N - 1).

ping_pong(Count) ->
    Self = self(),
    Pong = spawn(fun() -> pong(Self) end),
    ping(Pong, Count),
    exit(Pong, kill).

pong(To) -> receive X -> To ! X, pong(To) end.

ping(_, 0) -> ok;
ping(To, N) -> To ! N, receive _ -> ping(To, N - 1) end.

ring(Size, Hops) ->
    First = lists:foldl(fun(_, Next) -> spawn(?MODULE, member, [Next]) end, self(), lists:seq(2, Size)),
    First ! 0,
    turn(First, Hops).

member(Next) -> receive X -> Next ! X + 1, member(Next) end.

turn(First, Hops) ->
    receive
        X when X >= Hops - 1 -> ok;
        X -> First ! X + 1, turn(First, Hops)
    end.

spawns(0) -> ok;
spawns(N) -> spawn(fun() -> ok end), spawns(N - 1).

resident() ->
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Text, <<" ">>, [global]),
    binary_to_integer(Pages) * 4096.
