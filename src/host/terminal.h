/* The terminal and the environment of a command. */
#ifndef CUPEL_HOST_TERMINAL_H
#define CUPEL_HOST_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

bool host_is_terminal(int fd);
unsigned host_terminal_columns(int fd); /* 80 when it cannot be told */
char *host_current_dir(struct arena *arena); /* absolute; "." when it cannot be told */
/* Sends a line to the service manager (sd_notify(3): "READY=1", "STOPPING=1"); nothing happens without NOTIFY_SOCKET. */
void host_notify_manager(const char *state);
/* Up to n bytes of a descriptor; *got 0 at the end. For standard input. */
enum status host_read_some(int fd, void *bytes, size_t n, size_t *got, struct err *err);
/* A descriptor of its own for reading the terminal `fd`, to be closed by the caller, whose reads never wait; `fd` itself when there is none to be had. A Ctrl-C
 * empties the terminal's input, so what poll just saw may be gone when it is read: on `fd` that read would wait for the next key. */
int host_terminal_reader(int fd);
/* One read: E_BUSY when nothing is there at the moment, or a signal came first; OK with *got 0 at the end. */
enum status host_read_now(int fd, void *bytes, size_t n, size_t *got, struct err *err);
/* Restricts a file to its owner (mode 0600), a folder to 0700. */
enum status host_make_private(const char *path, bool is_dir, struct err *err);
bool host_process_alive(int pid);
int host_self_pid(void);

#endif
