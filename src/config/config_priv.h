/* Config, inside: the option table's rows, and what the files of this room share. */
#ifndef CUPEL_CONFIG_CONFIG_PRIV_H
#define CUPEL_CONFIG_CONFIG_PRIV_H

#include "base/json.h"
#include "config/config.h"
#include "config/yaml.h"

/* ---- the table ---- */

enum option_type {
    OPTION_TEXT, /* const char * */
    OPTION_SECRET, /* const char *, never shown */
    OPTION_PATH, /* const char *, joined to the project folder */
    OPTION_NAME, /* const char *, [a-z][a-z0-9_]{0,62} */
    OPTION_FIELD, /* const char *, JSON path */
    OPTION_HEADER, /* const char *, HTTP header name */
    OPTION_CHARACTER, /* const char *, one character, "tab", or none */
    OPTION_LISTEN, /* const char * */
    OPTION_ZONE, /* const char *, IANA time zone */
    OPTION_TABLE, /* const char *, bronze.<name> */
    OPTION_URL, /* const char * */
    OPTION_NUMBER, /* uint64_t */
    OPTION_BYTES, /* uint64_t */
    OPTION_DURATION, /* int64_t, ms */
    OPTION_CHOICE, /* an enum; `choices` in the order of its numbers */
    OPTION_TEXTS, /* const char *const *, and size_t behind it */
    OPTION_SECRETS,
    OPTION_HEADERS, /* lower case */
    OPTION_DEDUPE, /* struct config_dedupe_key */
    OPTION_PROTECT, /* struct config_protection */
    OPTION_SECTION, /* a struct with its own table */
    OPTION_TLS, /* struct config_tls: `off` or a section */
    OPTION_STREAMS, /* the map of streams */
    OPTION_SOURCES, /* the list of sources */
    OPTION_FLAG, /* bool */
    OPTION_CRON, /* const char *, five fields */
    OPTION_SELECTORS, /* texts that choose models */
    OPTION_TABLES, /* texts, schema.name */
    OPTION_COLUMNS, /* texts, up to 1000 */
    OPTION_NAMES, /* texts, each a name */
    OPTION_FLOWS, /* the list of flows */
    OPTION_STEPS, /* a flow's list of steps */
    OPTION_LATER, /* known, kept as it stands */
    OPTION_TYPES
};

enum { /* flags */
    OPTION_REQUIRED = 1,
    OPTION_RESTART = 2, /* a change needs a restart; others are taken over by SIGHUP */
    OPTION_ZERO_OK = 4, /* 0 is allowed besides min..max, with the meaning the description gives */
    OPTION_WEBHOOK = 16, /* for sources of these types; none of the three: for all */
    OPTION_LANDING = 32,
    OPTION_POLL = 64,
    OPTION_SOURCE_TYPES = OPTION_WEBHOOK | OPTION_LANDING | OPTION_POLL,
};

struct option {
    const char *name;
    enum option_type type;
    size_t offset; /* in the struct of the section */
    const char *fallback; /* as it would stand in YAML; NULL: none */
    int64_t min, max; /* numbers: bytes, ms or plain; texts: length */
    const char *choices; /* "local|s3" */
    unsigned flags;
    const struct option_section *section;
    const char *description;
};

struct option_section {
    const char *name; /* "streams.<name>" */
    const char *title;
    const struct option *options;
    size_t n;
};

extern const struct option_section config_root_section, config_stream_section, config_source_section, config_tls_section, config_flow_section,
    config_step_section;

/* One row per option type: how it is called, read, shown, described to editors. */
struct option_reader;
struct option_type_row {
    const char *name; /* in docs */
    bool (*read)(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at); /* false: a problem was added */
    void (*show)(struct json_writer *w, const struct option *option, const void *at, bool reveal); /* NULL: not shown by itself */
    void (*schema)(struct json_writer *w, const struct option *option); /* members of its JSON Schema */
};
extern const struct option_type_row config_option_types[OPTION_TYPES];

struct option_reader {
    struct arena *arena;
    struct config_problems *problems;
    struct config *config;
    const struct host *host; /* NULL: files are not looked at */
};

/* Fills `target` with the section's defaults. */
void config_set_defaults(struct option_reader *r, const struct option_section *section, void *target);
/* Reads a map (NULL or null: nothing given) into a target that has its defaults. kind: 0, or the OPTION_WEBHOOK… of the source. */
void config_read_section(struct option_reader *r, const struct option_section *section, const struct yaml_node *map, void *target, unsigned kind);
void config_show_section(struct json_writer *w, const struct option_section *section, const void *target, unsigned kind, bool reveal);
bool config_read_streams(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at);
bool config_read_sources(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at);
bool config_read_flows(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at);
bool config_read_steps(struct option_reader *r, const struct option *option, const struct yaml_node *node, void *at);
void config_show_flows(struct json_writer *w, const struct option *option, const void *at, bool reveal);
void config_show_steps(struct json_writer *w, const struct option *option, const void *at, bool reveal);
void config_show_streams(struct json_writer *w, const struct option *option, const void *at, bool reveal);
void config_show_sources(struct json_writer *w, const struct option *option, const void *at, bool reveal);
void config_schema_section(struct json_writer *w, const struct option_section *section); /* members "type", "properties", … */
unsigned config_source_kind(enum config_source_type type);

/* Rules that need more than one option; after everything was read. */
void config_check(struct option_reader *r, const struct yaml_node *root);
void config_check_flows(struct option_reader *r, struct arena *scratch);
/* Whether the system's file of a time zone is there and is one. Where the system has none at all: false but for UTC. */
bool config_zone_readable(const struct host *host, struct arena *scratch, const char *name);
/* The value of a key when it is given, else the map that it would stand in: somewhere to point at. */
const struct yaml_node *config_place(const struct yaml_node *map, const char *key);

/* ---- shared small things ---- */
void config_error_at(struct config_problems *problems, const struct yaml_node *node, const char *format, ...) __attribute__((format(printf, 3, 4)));
enum status config_problems_status(const struct config_problems *problems, struct err *err); /* E_CONFIG with the first error */
void config_expand(struct arena *arena, struct yaml_node *node, const struct config_environment *environment, struct config_problems *problems);
/* The value as a message may show it: as written, cut at 60 bytes, never the expansion. */
const char *config_quote(struct arena *arena, const struct yaml_node *node);
/* A limit of the option in the unit that people write: "128MB", "7d". */
const char *config_show_limit(struct arena *arena, const struct option *option, int64_t n);
/* ` (did you mean "x"?)` or "". names is NULL-ended. */
const char *config_suggest(struct arena *arena, struct str given, const char *const *names);

#endif
