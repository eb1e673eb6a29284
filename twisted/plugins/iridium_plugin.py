"""Tells `twistd` of Iridium."""

from twisted.application.service import ServiceMaker

iridium = ServiceMaker("Iridium", "iridium.service", "a node of a clustered language VM", "iridium")
