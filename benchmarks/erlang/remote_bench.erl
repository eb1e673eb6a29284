%% Messages and processes between two nodes. Prints lines of a name and numbers.
-module(remote_bench).
-export([main/1, sink/2, pong/1, drop/0, nothing/0]).

main([Other | Arguments]) ->
    pong = net_adm:ping(Other),
    [Ways, Trips, Latencies, Behind, Spawns] = [list_to_integer(atom_to_list(A)) || A <- Arguments],
    rate("one_way", Ways, fun() -> one_way(Other, Ways) end),
    rate("ping_pong_64", 64 * Trips, fun() -> together(64, fun() -> ping_pong(Other, Trips) end) end),
    latencies("latency", Other, Latencies),
    Bulk = spawn(fun() -> bulk(spawn(Other, ?MODULE, drop, []), binary:copy(<<0>>, 1024 * 1024)) end),
    latencies("behind", Other, Behind),
    exit(Bulk, kill),
    timer:sleep(500),
    rate("spawn", Spawns, fun() -> spawns(Other, Spawns) end),
    rate("spawn_64", 64 * (Spawns div 4), fun() ->
        together(64, fun() -> spawns(Other, Spawns div 4) end)
    end),
    halt().

rate(Name, Count, Run) ->
    Self = self(),
    spawn(fun() ->
        Start = erlang:monotonic_time(),
        Run(),
        Self ! {took, erlang:convert_time_unit(erlang:monotonic_time() - Start, native, nanosecond)}
    end),
    receive {took, Took} -> io:format("~s ~p~n", [Name, Count * 1.0e9 / Took]) end.

together(Many, Run) ->
    Self = self(),
    [spawn(fun() -> Run(), Self ! done end) || _ <- lists:seq(1, Many)],
    [receive done -> ok end || _ <- lists:seq(1, Many)].

one_way(Other, Count) ->
    Sink = spawn(Other, ?MODULE, sink, [self(), Count]),
    send(Sink, Count),
    receive done -> ok end.

sink(To, 0) -> To ! done;
sink(To, N) -> receive X when is_integer(X) -> sink(To, N - 1) end.

send(_, 0) -> ok;
send(To, N) -> To ! N, send(To, N - 1).

pong(To) -> receive X -> To ! X, pong(To) end.

ping_pong(Other, Count) ->
    Pong = spawn(Other, ?MODULE, pong, [self()]),
    ping(Pong, Count),
    exit(Pong, kill).

ping(_, 0) -> ok;
ping(To, N) -> To ! N, receive _ -> ping(To, N - 1) end.

%% In microseconds: p50 and p99.
latencies(Name, Other, Count) ->
    Self = self(),
    spawn(fun() ->
        Pong = spawn(Other, ?MODULE, pong, [self()]),
        ping(Pong, 100),
        Times = lists:sort(timed(Pong, Count, [])),
        exit(Pong, kill),
        Self ! {times, lists:nth(Count div 2 + 1, Times), lists:nth(Count * 99 div 100 + 1, Times)}
    end),
    receive {times, P50, P99} -> io:format("~s ~p ~p~n", [Name, P50 / 1000, P99 / 1000]) end.

timed(_, 0, Times) -> Times;
timed(Pong, N, Times) ->
    Start = erlang:monotonic_time(nanosecond),
    Pong ! N,
    receive _ -> ok end,
    timed(Pong, N - 1, [erlang:monotonic_time(nanosecond) - Start | Times]).

bulk(To, Data) -> To ! Data, bulk(To, Data).

drop() -> receive _ -> drop() end.

nothing() -> ok.

spawns(_, 0) -> ok;
spawns(Other, N) -> spawn_and_wait(Other), spawns(Other, N - 1).

%% spawn/4 does not wait for the other node; erpc and proc_lib do, as SPAWNON does.
spawn_and_wait(Other) ->
    Request = spawn_request(Other, ?MODULE, nothing, []),
    receive {spawn_reply, Request, ok, _} -> ok end.
