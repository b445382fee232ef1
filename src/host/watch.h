/* Folder watch: which files are renamed into folders (inotify, IN_MOVED_TO). A hint, not a truth: events may be lost when many come, so folders are listed
 * all the same. One thread waits and reads; folder_watch_wake may be called from any. */
#ifndef CUPEL_HOST_WATCH_H
#define CUPEL_HOST_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct folder_watch;

struct folder_event {
    int folder; /* as folder_watch_add gave it */
    bool gone; /* the folder itself is no longer watched (removed, unmounted); name is empty */
    const char *name; /* of the file that was renamed in; valid until the next call */
};

enum status folder_watch_new(struct folder_watch **out, struct err *err); /* E_IO when the system has no more of them */
void folder_watch_free(struct folder_watch **watch);
enum status folder_watch_add(struct folder_watch *watch, const char *path, int *folder, struct err *err); /* the same folder again: the same number */
/* Waits for events, for folder_watch_wake, or for the time to pass. */
void folder_watch_wait(struct folder_watch *watch, int64_t timeout_ms);
bool folder_watch_next(struct folder_watch *watch, struct folder_event *out); /* does not wait; false: no more now */
void folder_watch_wake(struct folder_watch *watch);

#endif
