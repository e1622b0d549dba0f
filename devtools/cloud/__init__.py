"""A strict simulator of the OutboundBot cloud, served over HTTP by a process of its own.

Pure modules decide (`plan`, `timeline`, `conversations`, `signature`, the `*_actions`); `server` and `control` are the
shell; `process` is the handle by which demo and tests start it.
"""
