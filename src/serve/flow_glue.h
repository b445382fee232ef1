/* Flow inside the node: models, the schedule over them, and the outbox of events.
 *
 * A server loads models on a thread of its own: intake never waits for them. A command loads them when its first request needs them. Wrong models stop nothing:
 * they are said in the log, by /v1/models and by `cupel check`; those loaded before stay in use. */
#ifndef CUPEL_SERVE_FLOW_GLUE_H
#define CUPEL_SERVE_FLOW_GLUE_H

#include "flow/schedule.h"
#include "serve/node_priv.h"

struct flow_glue;

/* Waits while they are loaded for the first time. E_UNAVAILABLE: they cannot be loaded now, the text says why. */
enum status node_flow(struct node *node, struct flow **flow, struct schedule **schedule, struct err *err);
/* The same for what cannot go on with wrong models: E_UNPROCESSABLE with the first problem. */
enum status node_flow_good(struct node *node, struct flow **flow, struct schedule **schedule, struct err *err);
/* Binds the models anew: something that they were bound with is different now. Problems are said as after a reload; the models in use stay then. */
void node_flow_load_again(struct node *node);
/* Problems of the last loading, one line each; empty: none. */
void node_flow_problems(struct node *node, struct buf *out);
/* Anything that a model run may have changed is newer than equal values of this. */
uint64_t node_flow_changes(struct node *node);
/* Changes the warehouse outside of model runs, as internal SQL (several statements): in a session of its own. */
enum status node_warehouse_run(struct node *node, const char *sql, struct buf *rows, struct err *err);

/* The flow room itself, from its opening on: for what the schedule calls. */
struct flow *node_flow_handle(struct node *node);
/* `read` is called only when a model may have written something since the last call for that table. */
enum status node_flow_mark(struct node *node, const char *table, enum status (*read)(struct node *node, const char *table, uint64_t *out, struct err *err),
    uint64_t *out, struct err *err);

/* flow_driver.c: what the schedule drives. */
void node_flow_declare_metrics(void);
struct schedule_driver node_flow_driver(struct node *node);
void node_flow_changed(struct node *node); /* tables were written */
bool node_flow_emits(struct node *node); /* some model emits events */

/* flow_outbox.c: publishes events that models emitted: appended with the event's idempotency key, then taken out of the outbox. A crash in between
 * appends again under the same key, which appends nothing. */
struct outbox;
struct outbox *outbox_start(struct node *node);
void outbox_wake(struct outbox *outbox);
void outbox_declare_metrics(void);
void outbox_stop(struct outbox **outbox);
/* One pass: *published events went out. */
enum status outbox_publish(struct node *node, size_t *published, struct err *err);
/* What streams refused goes back into the outbox and out again: so many stood in quarantine before, and after. */
enum status outbox_redrive(struct node *node, int64_t *before, int64_t *after, struct err *err);

#endif
