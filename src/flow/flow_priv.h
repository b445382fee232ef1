/* What the files of the flow room share: loaded models with all that their headers say, sets of them, the state of the warehouse as this process knows it. */
#ifndef CUPEL_FLOW_FLOW_PRIV_H
#define CUPEL_FLOW_FLOW_PRIV_H

#include "base/map.h"
#include "config/yaml.h"
#include "flow/flow.h"
#include "host/thread.h"

/* Both JSON headers have a json_null; the writer's is meant here. */
#define json_null jansson_null
#include <jansson.h>
#undef json_null

#define MODEL_FILE_BYTES_MAX (1u << 20)
#define MODELS_MAX 2000
#define REFERENCE_BYTES_MAX (64u << 20)

/* ---- model files ---- */

struct name_at { /* a name of the header with its place */
    const char *name;
    int line, column;
};

struct names_at {
    struct name_at *list;
    size_t n;
};

struct reads_row { /* one entry of `reads:` */
    struct name_at input;
    int64_t ms;
    bool until_next, used;
};

struct note_row { /* one entry of `columns:` */
    struct name_at column;
    const char *text;
};

struct emit_column {
    const char *name, *sql; /* sql: over old and new; NULL: the column itself */
};

/* A table that the SQL mentions, as the syntax tree says it. */
struct mention {
    const char *schema, *name; /* schema "" when not given */
    int line, column; /* in the model's file */
    bool nested; /* in a subquery of an expression */
    bool scanned; /* found by a look at the words, not by the tree: it may be something else */
    bool is_cte; /* a name of a WITH: stands for the mentions from body_from to body_to */
    size_t body_from, body_to;
};

struct join_sides { /* a JOIN: mentions [from, middle) on its left, [middle, to) on its right */
    size_t from, middle, to;
};

/* How a table looked when it was last looked at. */
struct seen_table {
    uint64_t version, before;
};

struct model {
    struct flow_model pub; /* first: a flow_model is one of these */
    bool broken; /* an error of its own was said: what follows from it is not */
    /* header */
    struct names_at key, order, within, by, state, lookups, depends_on, tags;
    bool order_given;
    struct reads_row *reads;
    size_t reads_n;
    struct note_row *notes;
    size_t notes_n;
    struct emit_column *emit_columns;
    size_t emit_columns_n;
    struct name_at time_at, together_at;
    const struct yaml_node *header; /* as it was read: places of what stands in it */
    int header_line; /* of the block's first line */
    int sql_column; /* where the SQL begins in its line */
    bool store_given;
    /* graph */
    struct mention *mentions;
    size_t mentions_n, mentions_cap;
    struct join_sides *joins;
    size_t joins_n, joins_cap;
    struct model **needs; /* models whose tables or SQL it reads directly, views included */
    size_t needs_n;
    size_t place; /* in topological order */
    int mark; /* of the search for cycles: 0 new, 1 on the way, 2 done */
    /* references */
    const char *source_path; /* CSV, as the engine opens it */
    const char *settings_path; /* YAML beside it, which need not be there */
    const char *types_sql; /* "{'a': 'VARCHAR', …}" or NULL */
    struct seen_table loaded; /* the files' time and size when the models were bound */
    uint64_t settings_hash;
    const char *rejects; /* what is wrong with the first of its rows that do not fit; NULL: all do */
    struct expect_suite *suite;
    struct model **more; /* models that expectations look at */
    size_t more_n;
    bool drops_is_sql; /* drops is a condition over the inputs; else a sentence, also pub.drops_by_word */
    /* binding */
    const struct flow_column *piece_columns; /* merge: of rows: */
    size_t piece_columns_n;
    const char *table, *next_table, *old_table, *gone_table, *quarantine_table, *next_gone, *next_quarantine; /* quoted full names in the warehouse */
    const char *columns_json; /* of cupel.models */
};

static inline const struct model *model_of(const struct flow_model *m) { return (const struct model *)m; }

/* Whether it notes, beside its table, which row removed a key or ended a group: rows that come late, from before that, must not come back. */
static inline bool model_keeps_ends(const struct model *m) { return m->pub.deletes || m->pub.together; }

/* A loaded set: immutable after flow_load, kept until flow_close. */
struct model_set {
    struct model_set *older;
    struct arena *arena;
    struct model **models; /* topological order */
    const struct flow_model **pub; /* the same */
    size_t n;
    struct map *by_name; /* full -> struct model */
    bool unread; /* the file of some model could not be read: it is not among them */
    struct map *unread_names; /* their names, while loading */
};

struct model_reader {
    struct arena *arena;
    struct config_problems *problems; /* its `file` is the model's */
};

/* Reads one model file: header and SQL. NULL: nothing of it can be used (the problem was said); else `broken` tells whether something was wrong. */
struct model *model_read(struct model_reader *r, const char *file, const char *schema, const char *name, struct str text);
/* ` (did you mean "x"?)` or "". */
const char *flow_suggest(struct arena *arena, const char *given, const char *const *names, size_t n);
/* Line and column in the file of a byte of the SQL. */
void model_place(const struct model *m, size_t sql_byte, int *line, int *column);

/* ---- graph ---- */

/* Adds what a syntax tree (json_serialize_sql) mentions. sql_at: place of the SQL's first byte for messages; NULL: the model's own SQL. E_INVALID: the tree
 * says that the SQL is wrong, with the byte in *error_at when it tells; E_UNSUPPORTED: DuckDB has no tree for such a statement. */
enum status graph_read_tree(struct arena *arena, struct model *m, struct str tree, const struct name_at *sql_at, size_t *error_at, struct err *err);
/* The same by looking for words of the form a.b outside of texts and comments. */
void graph_scan_words(struct arena *arena, struct model *m, const char *sql, const struct name_at *sql_at);
/* Follows the mentions: needs and inputs of every model, order, cycles, unknown tables. bronze: the lake's tables; NULL: not known, every name is taken. */
void graph_resolve(struct model_reader *r, struct model_set *set, const struct engine_view *bronze);

/* ---- sessions of the engine ---- */

/* Runs SQL; *rows (may be NULL): the last result as a JSON array, to be freed with json_decref. */
enum status work_rows(struct engine_work *work, const char *sql, json_t **rows, struct err *err);
/* The same for a run that may be cancelled meanwhile (cancel.c). */
struct canceller;
struct canceller *canceller_new(void);
void canceller_free(struct canceller **canceller);
enum status cancellable_rows(
    struct canceller *c, const struct flow_run_options *options, struct engine_work *work, const char *sql, json_t **rows, struct err *err);
/* Text and number of a cell of a row object; NULL and 0 when it is null or missing. Texts live as long as the row. */
const char *cell_text(const json_t *row, const char *name);
int64_t cell_int(const json_t *row, const char *name);

/* Where the engine's message about a statement points: line (from 1) and column of the statement; false: it does not say. *message: one line without the
 * place. */
bool engine_error_place(struct arena *arena, const char *sql, const char *text, const char **message, int *line, int *column);

/* ---- loading ---- */

struct binder {
    struct model_reader *r;
    struct model_set *set;
    struct engine_work *work;
    const struct engine_view *bronze;
    struct engine *engine;
    const struct config *config; /* streams and flows of the project; NULL: not looked at */
    const struct host *host;
    int64_t until_ms; /* monotonic: binding ends then with E_TIMEOUT; 0: no limit */
    size_t rejects; /* errors that were said about rows of references: they keep those from being read, not models from being bound */
};

/* Gives every model its columns; problems are said. Fails only for reasons of the machine. */
enum status bind_models(struct binder *b, struct err *err);
/* Binds every expectation as a run would ask it. For models that bound well: their tables must be there. */
enum status bind_suites(struct binder *b, struct err *err);
/* What flows say about models: selections, tables, and the SQL of their steps, asked over stand-ins as the schedule would ask it. */
enum status check_flows(struct binder *b, struct err *err);
/* The lake's tables and those that a configuration declares and nobody has made yet. In the arena; config may be NULL. */
const struct engine_view *view_with_declared(struct arena *arena, const struct engine_view *view, const struct config *config);
/* Byte of a text that line and column (from 1) of it are at. */
size_t text_offset(const char *text, int line, int column);
/* {'name': 'TYPE', …} as CSV options of a reference: the SELECT over its file. In the arena. */
const char *reference_sql(struct arena *arena, const struct model *m);
/* The same, by which rows that do not fit are left out and noted in a temporary table of that name. */
const char *reference_sql_telling(struct arena *arena, const struct model *m, const char *rejects);
/* Hash of the file and its settings as they are now. */
enum status reference_content(struct flow *flow, struct arena *arena, const struct model *m, const char **out, struct err *err);
/* Its files as they are now are those that the models are bound with. */
void reference_note_loaded(struct model *m, const struct fs *fs, struct str settings);
/* E_CONFIG: its files have changed since, and have other columns; other errors: they cannot be read. */
enum status reference_fits_models(struct flow *flow, const struct model *m, struct err *err);
/* Says when its file is too large to be taken. */
bool reference_fits(struct model_reader *r, const struct fs *fs, const struct model *m);
/* Reads reference/<name>.yaml (may be empty). */
void reference_read_types(struct model_reader *r, struct model *m, struct str yaml);
/* A number for the definitions of all macros that SQL calls, directly or through others; 0: none. */
uint64_t macros_used(struct str sql);
/* Sets fingerprints and what is derived once (names of tables). In topological order, after binding. */
void model_finish(struct arena *arena, struct model *m, const char *timezone);

/* ---- the flow ---- */

#define POSITION_PARTITIONS_MAX 1024
#define WAVE_ROWS 2000000

/* How far a model has read an input. Which members count depends on the input. */
struct position {
    uint64_t *offsets; /* bronze: per partition, rows below were read */
    uint16_t offsets_n;
    int64_t received_us; /* bronze: no row beyond the offsets was received before */
    int64_t version; /* tables of models */
    char hash[33]; /* references: of the file's content */
};

struct flow {
    struct flow_options options; /* texts are copies */
    struct arena *arena;
    uint64_t wave_rows; /* of bronze, in one wave of a rebuild */
    mutex load_lock; /* one flow_load at a time */
    mutex state_lock; /* one reading of the warehouse's state at a time */
    mutex lock; /* guards all below */
    condition ended; /* a run ended */
    struct model_set *set; /* newest; never NULL */
    struct map *running; /* full name -> anything: a run of it is under way */
    /* What the warehouse says, as far as this process knows: read once, then kept up to date by every commit; forgotten when a commit's end is not known. */
    bool state_known;
    uint64_t notes; /* commits noted: what was read while one was noted may be older than it */
    int64_t version; /* last one given out */
    struct map *positions; /* "model input" -> struct position */
    struct map *versions; /* table -> struct table_state */
    struct map *built; /* model -> fingerprint (char *) */
    struct map *seen; /* "model input" -> struct seen_table: lake tables as the last run met them */
    struct buf unnoted; /* history of failed runs that could not be written: the disk was full */
    struct canceller *canceller;
};

struct table_state {
    int64_t version; /* of its last change */
    int64_t rebuilt; /* of its last rebuild: who read before that must read all */
};

/* The set in use; it stays valid until flow_close. */
struct model_set *flow_set(struct flow *flow);

/* ---- SQL text ---- */

void sql_name(struct buf *out, const char *name); /* "quoted" */
void sql_table(struct buf *out, const char *schema, const char *name); /* "schema"."name" */
void sql_text(struct buf *out, const char *text); /* 'quoted' */
/* Names of a list, each with prefix ("" or "t."), joined by ", ". */
void sql_names(struct buf *out, const char *prefix, const char *const *names, size_t n);
void sql_columns(struct buf *out, const char *prefix, const struct flow_column *columns, size_t n);

#endif
