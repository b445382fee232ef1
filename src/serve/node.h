/* Node: the wiring of one running Cupel over one project folder.
 *
 * Opened in this order, closed in the reverse one, each step logged: configuration, lock file, data format, logs, ledger, streams and tables, log, engine
 * handle, lake, ingest, landing, HTTP. A server runs it until a signal; a command that finds no server opens the same thing with a private socket. */
#ifndef CUPEL_SERVE_NODE_H
#define CUPEL_SERVE_NODE_H

#include "base/arena.h"
#include "base/err.h"
#include "host/host.h"

struct node;

struct node_options {
    const struct host *host;
    const char *dir; /* project folder */
    const char *listen; /* NULL: what cupel.yaml says */
    bool command; /* inside a command: quiet, no landing watcher; `listen` is a unix: address */
    bool landing; /* with command: the landing rooms are opened, for `cupel source` (nothing is watched) */
    bool quiet; /* only errors on stderr */
    bool writer; /* with command: the lake's writer thread runs too (long commands) */
};

/* E_CONFIG: cupel.yaml is wrong, all problems were printed to `problems` (a buffer, one line each). E_BUSY: another process holds the folder.
 * E_UNSUPPORTED: the data folder was written by a newer version. On failure everything opened so far is closed again. */
struct buf;
enum status node_open(const struct node_options *options, struct node **out, struct buf *problems, struct err *err);
/* Serves until SIGTERM or SIGINT (host_signals_block was called); SIGHUP reloads the configuration. */
void node_run(struct node *node);
/* Answers what is under way, stops taking more, closes. With `flush` the unlanded tail goes to the lake first. */
void node_close(struct node **node, bool flush);

const char *node_address(const struct node *node); /* "127.0.0.1:8080" or "unix:/…", with the real port */
bool node_tls(const struct node *node);

/* ---- data/server.json: how commands find a running node ---- */

struct server_file {
    const char *address, *version; /* as http_server_address; the file has a `url` for other programs besides */
    bool tls;
    int64_t pid, started_ms;
};
/* E_NOT_FOUND: none. E_CORRUPT: not readable as such. */
enum status server_file_read(const struct host *host, struct arena *arena, const char *data_dir, struct server_file *out, struct err *err);
enum status server_file_write(const struct host *host, const char *data_dir, const struct server_file *file, struct err *err);
void server_file_remove(const struct host *host, const char *data_dir);

/* ---- data/format: the version of the data folder's layout ---- */

#define DATA_FORMAT 1
/* Writes it into a new folder, upgrades an older one step by step, refuses a newer one (E_UNSUPPORTED). */
enum status data_format_ensure(const struct host *host, const char *data_dir, struct err *err);

/* Makes data/cli.token (mode 0600) when it is missing. For `init`; node_open does it too. */
enum status node_make_token(const struct host *host, const char *data_dir, struct err *err);

/* Makes docs/metrics.md from the metrics that are declared in this process: open a node first. */
void metrics_document(struct buf *out);

#endif
