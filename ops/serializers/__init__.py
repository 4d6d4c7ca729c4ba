"""What operators are shown, as JSON documents: the same for the command line and the HTTP interface. Pure.

A module has one kind of document: its type, of which the interface's description and generated clients are
made, and how it is written. Acts are judged by jobs and replays, so the HTTP adapter of the operations reads
these back; what is not shown is empty then. Jobs and batches are shown to producers too: they are written in
`producers.portals.serializers`. That of an explanation is written where it is explained, in `ops.explain`.
"""
