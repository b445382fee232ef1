/* What the files of the landing zone share: a source's state, and one pass over it.
 *
 * A pass: list the folder, choose complete files (landing_watch.c), make their plans, take them in one ledger transaction (landing_pass.c),
 * land them in one commit (landing_table.c) or batch by batch (landing_stream.c), move them, mark them moved. */
#ifndef CUPEL_CONNECT_LANDING_PRIV_H
#define CUPEL_CONNECT_LANDING_PRIV_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/metrics.h"
#include "connect/landing.h"
#include "connect/landing_rows.h"
#include "host/thread.h"
#include "host/watch.h"

#define LANDING_BATCH_FILES 64 /* files of one commit at most */
#define LANDING_BATCH_BYTES (256u << 20) /* of text; a larger file is a commit of its own */
#define LANDING_POLL_MS 1000
#define LANDING_QUIET_MS 2000
#define LANDING_BACKOFF_MS_MAX 60000
#define LANDING_ATTEMPTS_MAX 3 /* engine deaths over one file before it is refused */
#define HOUR_MS INT64_C(3600000)

struct seen_file { /* of the folder, ignored names too */
    char *name;
    uint64_t size_bytes, inode;
    int64_t mtime_ns;
    int64_t since_ms; /* monotonic: unchanged since */
    bool ignored; /* hidden, or a name of work in progress */
    bool renamed_in; /* was there under an ignored name: complete */
    bool kept; /* by the scan under way */
    unsigned failures; /* to read it, in a row */
    int64_t retry_at_ms;
};

struct source_state {
    struct landing *landing;
    const struct landing_source *config;
    uint16_t number; /* of the landing table or stream; 0: not known yet */
    mutex busy; /* one pass at a time; guards everything below */
    bool reconciled;
    struct seen_file *seen;
    size_t seen_n;
    struct map *moved_in; /* names that were renamed into the folder since the last scan */
    int watched; /* number of the folder in landing.watch; -1: not watched */
    int64_t retry_at_ms, backoff_ms; /* monotonic */
    char poison[65]; /* hash of the file over which the engine died, alone */
    unsigned deaths;
    size_t singles; /* files still to be tried alone, after a batch that failed */
    atomic_uint_fast64_t waiting, oldest_ms; /* for lists; age in ms */
    struct series *files_landed, *files_rejected, *files_already, *rows_landed, *rows_quarantined, *bytes, *seconds, *waiting_files, *oldest_seconds, *failures;
};

struct landing {
    struct landing_options options;
    struct source_state *sources;
    struct thread thread;
    struct folder_watch *watch; /* NULL: polled only */
    mutex lock;
    condition wake;
    bool stopping; /* under lock */
};

bool landing_stopping(struct landing *landing);
struct source_state *landing_find(struct landing *landing, const char *name); /* NULL when absent */

/* ---- landing_watch.c ---- */

struct ready_file {
    const char *path; /* in the arena */
    uint64_t size_bytes;
    struct seen_file *seen; /* until the next scan */
};

struct folder_state {
    struct ready_file *ready; /* complete files in name order */
    size_t n;
    size_t incomplete; /* may still be written to */
    size_t stuck; /* could not be read; tried again later */
};
/* Lists the folder. */
enum status landing_scan(struct source_state *s, struct arena *arena, struct folder_state *out, struct err *err);
bool landing_name_ignored(struct str name); /* hidden, or of work in progress: .tmp, .part, … */
/* The file was renamed into the folder: complete, whatever it looks like. */
void landing_moved_in(struct source_state *s, const char *name);
void landing_forget_seen(struct source_state *s);
/* Moves the file into <folder>/<sub>/ under its own name, or with .2, .3 … behind it when that is taken; durable. When the file at `path` is not the
 * planned one any more nothing is moved and *moved_to is "". reason: written beside it as <name>.reason.txt (rejected files). */
enum status landing_move(
    struct source_state *s, struct arena *arena, const struct landing_plan *plan, const char *sub, const char *reason, const char **moved_to, struct err *err);
/* At the first pass: ledger rows whose files are not where they were found (a crash between moving and marking). */
enum status landing_reconcile(struct source_state *s, struct err *err);

/* ---- landing_pass.c ---- */

struct work_file {
    struct landing_plan plan;
    struct landing_file row; /* as the ledger has it */
    enum { WORK_NONE, WORK_LAND, WORK_LATER, WORK_LANDED, WORK_REJECTED, WORK_ALREADY } kind; /* LATER: the same content is in this batch already */
    const char *reason; /* of a rejection found while landing */
    const char *spool; /* of bad rows; NULL before */
    uint64_t read, good, bad;
    /* Parquet */
    struct engine_column *types; /* name as in the file, type to ask for */
    const char **sql; /* expression per column */
    const char *unpacked; /* temporary file with its content when it came compressed; NULL */
};

struct pass_left {
    size_t waiting; /* files for the next pass, incomplete ones too */
    size_t stuck; /* files that cannot be read */
};
/* A pass over what is ready. */
enum status landing_pass(struct source_state *s, struct landing_outcome *outcome, struct pass_left *left, struct err *err);
/* Says in the plan which columns are personal. */
enum status landing_protect(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err);
/* Reads the Parquet file's schema and row count through the engine; a file that is no sound Parquet becomes a rejected plan. What may be the disk's fault
 * becomes one only after LANDING_ATTEMPTS_MAX failures before. */
enum status landing_probe_parquet(struct source_state *s, struct arena *arena, struct work_file *file, unsigned failures, struct err *err);

/* ---- landing_table.c, landing_stream.c: to the end of the commit; the files' counts and kind (WORK_LANDED) are set ---- */
enum status landing_to_table(struct source_state *s, struct arena *arena, struct work_file **files, size_t n, struct err *err);
enum status landing_to_stream(struct source_state *s, struct arena *arena, struct work_file *file, struct err *err);
/* Inside the commit's transaction: outcome and accounts of landed files. */
enum status landing_finish_files(struct source_state *s, struct ledger *ledger, struct work_file **files, size_t n, struct err *err);
/* The quarantine part of a commit: one Parquet file with the bad rows of all files; *made false when there are none. The temporary file is the caller's
 * to unlink when the commit fails. */
enum status landing_quarantine(
    struct source_state *s, struct arena *arena, struct work_file **files, size_t n, struct lake_append *out, bool *made, struct err *err);

/* Columns that every landing table begins with. */
#define LANDING_OWN_COLUMNS 5
extern const struct engine_column landing_own_columns[LANDING_OWN_COLUMNS];

/* SQL text of a literal, quotes doubled; of a name, double quotes doubled. In the arena. */
const char *sql_literal(struct arena *arena, struct str text);
const char *landing_sql_name(struct arena *arena, struct str name);
const char *sql_timestamp(struct arena *arena, int64_t at_ms);
/* The rows of a Parquet file: "read_parquet('…', …)", with characters that mean something in patterns taken literally. */
const char *sql_parquet(struct arena *arena, const char *path);

#endif
