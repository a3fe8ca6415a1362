"""The HTTP interface: a handler is a function of the context and the request."""
