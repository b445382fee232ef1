/* Sockets of servers: listening, and what the kernel knows about a connection. Used under libmicrohttpd, which does the reading and writing itself.
 *
 * Threads: any. File descriptors belong to the caller. */
#ifndef CUPEL_HOST_NET_H
#define CUPEL_HOST_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define HOST_ADDRESS_MAX 160

/* Opens a non-blocking, close-on-exec listening socket. `address` is "127.0.0.1:8080", "[::1]:0", "localhost:80", "*:8080" (all addresses) or
 * "unix:/path" (made with mode 0600; a left-over file that nobody listens on is replaced). `actual` gets the address with the real port.
 * E_INVALID: cannot be read; E_CONFLICT: in use; E_IO otherwise. */
enum status host_listen(const char *address, int backlog, int *fd, char actual[HOST_ADDRESS_MAX], struct err *err);

/* Another descriptor of the same socket, so that each of several owners can close its own. E_IO when there are too many. */
enum status host_duplicate(int fd, int *out, struct err *err);

/* Of a TCP connection: bytes that came in since it was made, how many of them nobody read yet, and whether the peer will send no more (it closed its side).
 * false: not TCP, or unknown to this kernel. */
bool host_socket_received(int fd, uint64_t *bytes, uint64_t *unread, bool *peer_ended);
/* Ends both directions without closing the descriptor: whoever polls it sees the end. */
void host_socket_shutdown(int fd);
/* Raises the limit of open files to `wanted` where it may; returns the limit that holds now. */
uint64_t host_files_raise(uint64_t wanted);

#endif
