//! The log: memory, files, offsets. Has never heard of a socket.
