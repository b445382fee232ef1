#include "host/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"

bool host_is_terminal(int fd) { return isatty(fd) == 1; }

unsigned host_terminal_columns(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

char *host_current_dir(struct arena *arena) {
    char path[PATH_MAX];
    return arena_strdup(arena, getcwd(path, sizeof path) ? path : ".");
}

void host_notify_manager(const char *state) {
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@') address.sun_path[0] = '\0'; /* the abstract name space */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    close(fd);
}

enum status host_read_some(int fd, void *bytes, size_t n, size_t *got, struct err *err) {
    must(bytes && got);
    for (;;) {
        ssize_t r = read(fd, bytes, n);
        if (r >= 0) {
            *got = (size_t)r;
            return OK;
        }
        if (errno != EINTR) return err_set_errno(err, errno, "reading descriptor %d", fd);
    }
}

int host_terminal_reader(int fd) {
    char path[40];
    must(fd >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* not O_NONBLOCK on fd itself: whoever shares it, such as the calling shell, would get that too */
    int own = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own >= 0 ? own : fd;
}

enum status host_read_now(int fd, void *bytes, size_t n, size_t *got, struct err *err) {
    must(bytes && got);
    ssize_t r = read(fd, bytes, n);
    if (r < 0 && (errno == EAGAIN || errno == EINTR)) return err_set(err, E_BUSY, "nothing to read");
    if (r < 0) return err_set_errno(err, errno, "reading descriptor %d", fd);
    *got = (size_t)r;
    return OK;
}

enum status host_make_private(const char *path, bool is_dir, struct err *err) {
    if (chmod(path, is_dir ? 0700 : 0600) != 0) return err_set_errno(err, errno, "%s: chmod", path);
    return OK;
}

bool host_process_alive(int pid) { return pid > 0 && (kill(pid, 0) == 0 || errno == EPERM); }

int host_self_pid(void) { return (int)getpid(); }
