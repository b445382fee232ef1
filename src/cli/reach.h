/* Reach: how a command gets at the node of its project folder. One way for all: HTTP with the folder's own token.
 *
 * When data/server.json names a live node (its lock is held), that one is asked. Otherwise the command opens the very same node inside its own process, on
 * a private unix socket and under the same lock, asks it the same way, and closes it at the end. Threads: the opener's, but for `interrupt` as stated. */
#ifndef CUPEL_CLI_REACH_H
#define CUPEL_CLI_REACH_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/command.h"
#include "cli/tree.h"

struct reach;

struct reach_options {
    bool writer; /* a node of our own runs the lake's writer too: for commands that put much or stay long */
    bool landing; /* a node of our own opens the landing rooms: for `cupel source` */
    bool only_running; /* E_UNAVAILABLE instead of opening a node: for completion */
};

/* E_NOT_FOUND: no project folder here or above (says what to do). E_CONFIG: the problems of cupel.yaml were printed on stderr. E_BUSY: another command holds
 * the folder without letting us in. */
enum status reach_open(struct cli *cli, const struct reach_options *options, struct reach **out, struct err *err);
void reach_close(struct reach **reach);
bool reach_is_server(const struct reach *reach); /* false: the node is ours */
const char *reach_address(const struct reach *reach);
const char *reach_project_dir(const struct reach *reach);

struct ask {
    const char *method; /* NULL: GET */
    const char *path; /* with query, escaped: url_escape */
    struct str body;
    const char *content_type; /* of the body; NULL: application/json */
    const char *accept;
    const char *const *headers; /* name, value, …, NULL; or NULL */
    int64_t timeout_ms; /* 0: none */
    /* Called with parts of a 2xx body as they come, on the asker's thread; a failure ends the request with it. NULL: collected in *out. */
    enum status (*part)(void *context, struct str bytes, struct err *err);
    void *context;
    bool landing; /* reach_print: see reach_options */
    bool verdict; /* reach_print: the exit code is 1 unless the answer's "ok" is true */
    bool interruptible; /* Ctrl-C (host_interrupted) ends it with E_CANCELLED */
};
/* OK for 2xx. Other answers become *err: the status by HTTP code, the text from problem+json's detail. *retry_after_ms (may be NULL) is set for 503 and 429. */
enum status reach_ask(struct reach *reach, const struct ask *ask, struct buf *out, int64_t *retry_after_ms, struct err *err);
/* Asks and parses. *out is a new reference (json_decref). */
enum status reach_json(struct reach *reach, const struct ask *ask, json_t **out, struct err *err);

/* Opens, asks, prints (--json: the answer as it is; else with `print`), closes: what most commands are. Returns the exit code. */
int reach_print(struct cli *cli, const struct ask *ask, void (*print)(struct cli *cli, json_t *answer));

/* The project folder of this command: -C, or here and upwards to the first cupel.yaml. E_NOT_FOUND says what to do. */
enum status project_find(struct cli *cli, char **out, struct err *err);

#endif
