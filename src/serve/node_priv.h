/* Inside `serve`: what the files of routes share. */
#ifndef CUPEL_SERVE_NODE_PRIV_H
#define CUPEL_SERVE_NODE_PRIV_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/sql_quote.h"
#include "config/config.h"
#include "host/host.h"
#include "host/thread.h"
#include "http/http.h"
#include "ingest/ingest.h"
#include "lake/engine.h"
#include "lake/lake.h"
#include "ledger/ledger.h"
#include "serve/log_sink.h"
#include "serve/node.h"
#include "serve/query_places.h"
#include "stream/stream.h"

struct node {
    struct host host;
    struct node_options options;
    char *dir, *data_dir;
    struct config *config; /* the one in force; replaced by a reload, older ones live until the end (config_old) */
    struct config **config_old;
    size_t config_old_n;
    mutex reload_lock; /* one reload or stream change at a time; guards config */
    int lock; /* data/lock */
    struct log_sink *sink;
    struct ledger *ledger;
    struct stream_log *log;
    struct stream_recovery recovery;
    struct engine *engine;
    struct query_places *query_places; /* of users, by token */
    struct lake *lake;
    struct ingest *ingest;
    struct landing_glue *landing; /* landing_glue.c */
    struct flow_glue *flow; /* flow_glue.c */
    uint64_t flow_gauges_at; /* node_flow_changes when the gauges of freshness were read; of the schedule's thread */
    rwlock landing_lock; /* a reload replaces it */
    struct http_server *server;
    struct http_route *routes; /* all of the server's, for openapi */
    size_t routes_n;
    int64_t started_ms;
    atomic_bool ready, draining;
    atomic_bool checking; /* a check of the project is under way */
    atomic_uint checks_waiting;
    size_t opened; /* steps of node.c */
    struct buf *problems; /* during node_open */
    bool lake_started, flush_at_end;
};

/* The configuration in force. Valid until node_close. */
const struct config *node_config(struct node *node);

/* ---- requests ---- */

typedef void (*node_handler)(struct node *node, struct http_request *r);
/* Runs f on a worker thread, for work that waits for disk, ledger or engine; answers 503 when the line is full. */
void node_offload(struct node *node, struct http_request *r, node_handler f);
/* The same for handlers whose answer is one JSON text: 200 with what `make` put into out, or the problem. */
typedef enum status (*node_maker)(struct node *node, struct http_request *r, struct buf *out, struct err *err);
void node_offload_json(struct node *node, struct http_request *r, node_maker make);
/* Defines an http_handler (context: the node) that answers with `make`. */
#define JSON_HANDLER(name, make) \
    static void name(void *context, struct http_request *r) { node_offload_json(context, r, make); }
void node_problem(struct http_request *r, const struct err *err);
void node_answer_json(struct http_request *r, int code, struct buf *json); /* takes the buffer */
/* Query parameter as a number in [min, max]; `fallback` when absent. E_INVALID names it. */
enum status query_number(struct http_request *r, const char *name, int64_t fallback, int64_t min, int64_t max, int64_t *out, struct err *err);
/* An instant: RFC 3339, a date, or a duration back from now ("2h"). *out_us stays when absent. */
enum status query_time(struct node *node, struct http_request *r, const char *name, int64_t *out_us, struct err *err);
bool query_flag(struct http_request *r, const char *name); /* true, 1, yes, or given without a value */
/* A living stream by name. E_NOT_FOUND lists the nearest. */
enum status node_stream(struct node *node, struct arena *arena, struct str name, struct ledger_stream *out, struct err *err);
/* "bronze.pos" -> "bronze", "pos". E_INVALID otherwise. */
enum status table_split(struct arena *arena, struct str full, const char **schema, const char **name, struct err *err);
/* The scalar of a JSON body ("" when the body is empty: then everything is absent). E_INVALID when it is not one JSON object. */
struct body;
enum status body_open(struct http_request *r, struct body **out, struct err *err); /* in the request's arena; body_close afterwards */
void body_close(struct body **body);
bool body_text(struct body *body, const char *path, struct str *out); /* copied into the request's arena; scalars of any kind */
enum status body_number(struct body *body, const char *path, int64_t fallback, int64_t min, int64_t max, int64_t *out, struct err *err);

/* Our own SQL over one pinned, consistent view; all rows as one JSON array. */
enum status node_rows(struct node *node, const char *sql, struct buf *out, struct err *err);

/* ---- routes: each file fills its part of the table ---- */

struct route_list {
    struct http_route *list;
    size_t n, cap;
};
void route_add(struct route_list *routes, struct http_route route);
void routes_events(struct node *node, struct route_list *routes);
void routes_sql(struct node *node, struct route_list *routes);
void routes_tables(struct node *node, struct route_list *routes);
void routes_streams(struct node *node, struct route_list *routes);
void routes_accounts(struct node *node, struct route_list *routes);
void routes_sources(struct node *node, struct route_list *routes);
void routes_flows(struct node *node, struct route_list *routes);
void routes_models(struct node *node, struct route_list *routes);
void routes_kpi(struct node *node, struct route_list *routes);
void routes_quarantine(struct node *node, struct route_list *routes);
void routes_check(struct node *node, struct route_list *routes);
void routes_admin(struct node *node, struct route_list *routes);
void routes_health(struct node *node, struct route_list *routes);
void routes_dashboard(struct node *node, struct route_list *routes);
void openapi_write(const struct http_route *routes, size_t n, struct buf *out);

/* ---- between node.c and the routes ---- */

struct landing_glue;
/* Landing files: the watcher of `connect`, in landing_glue.c. */
enum status node_open_landing(struct node *node, struct err *err);
void node_close_landing(struct node *node);
/* Stops the watcher and starts another for `config`; when that fails, one for the configuration in force. */
enum status node_reload_landing(struct node *node, const struct config *config, struct err *err);
/* Models and flows, flow_glue.c. */
enum status node_open_flow(struct node *node, struct err *err);
void node_close_flow(struct node *node);
/* E_CONFIG: models are wrong; the old ones stay in use. */
enum status node_reload_flow(struct node *node, const struct config *config, struct err *err);
/* Appends to the JSON object in *out where the event went: `models` (tables and quarantines that keep its id) and `feeds` (tables made from those). */
enum status event_trace(struct node *node, const char *table, const char *id, struct buf *out, struct err *err);
void node_revert_flow(struct node *node); /* back to the flows of the configuration in force */
/* Their part of /v1/conservation, as objects of a list; *all_good is cleared when one does not add up. */
enum status accounts_models(struct node *node, struct json_writer *w, bool deep, bool *all_good, struct err *err);
/* ingest_options.read_older: records that only bronze still has. */
void node_read_older(void *context, struct http_request *r, const char *stream, uint16_t number, uint16_t partition, uint64_t offset, uint32_t limit);

/* Tells log and lake about a stream as the ledger and `config` have it (partitions never shrink). */
enum status node_apply_stream(struct node *node, const struct config *config, const struct ledger_stream *stream, struct err *err);
/* Reads cupel.yaml again and takes over what can be; what needs a restart is logged. `report` gets one JSON object. */
enum status node_reload(struct node *node, struct buf *report, struct err *err);
/* Deletes a stream from the ledger together with its data: everything it received is accounted as deleted from here on. */
enum status accounts_delete_stream(struct node *node, struct arena *arena, const struct ledger_stream *stream, struct err *err);
void node_update_gauges(struct node *node);
/* Why it is not ready, as a JSON array of sentences; false: it is ready. */
bool node_not_ready(struct node *node, struct buf *reasons);

#endif
