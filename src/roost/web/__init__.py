"""Floor 8: what the browser sees. The application, its sockets, the store over HTTP, and how they are served."""
