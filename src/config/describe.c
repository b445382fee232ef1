/* docs/options.md and docs/cupel.schema.json, from the table. */
#include <string.h>

#include "base/assert.h"
#include "config/config_priv.h"

static void put_cell(struct buf *out, const char *text) { /* | ends a cell in Markdown */
    for (; *text; text++) {
        if (*text == '|') buf_char(out, '\\');
        buf_char(out, *text);
    }
}

/* Choices, range, or length: whatever the type has. */
static void put_limits(struct buf *out, const struct option *option) {
    must(option->max >= option->min);
    ARENA_SCOPE(scratch);
    bool number = option->type == OPTION_NUMBER || option->type == OPTION_BYTES || option->type == OPTION_DURATION;
    if (option->choices) {
        put_cell(out, option->choices);
    } else if (number) {
        buf_printf(out, "%s%s to %s", option->flags & OPTION_ZERO_OK ? "0, or " : "", config_show_limit(scratch, option, option->min),
            config_show_limit(scratch, option, option->max));
    } else if (option->max > 0) {
        buf_printf(out, "up to %lld bytes", (long long)option->max);
    }
}

static void put_option(struct buf *out, const struct option *option, bool sources) {
    must(option->name && option->description);
    static const char *const kinds[] = {"all", "webhook", "landing", "", "poll"};
    buf_printf(out, "| `%s` | %s | ", option->name, config_option_types[option->type].name);
    if (sources) buf_printf(out, "%s | ", kinds[(option->flags & OPTION_SOURCE_TYPES) / OPTION_WEBHOOK]);
    if (option->flags & OPTION_REQUIRED)
        buf_text(out, "required");
    else if (option->fallback && *option->fallback)
        buf_printf(out, "`%s`", option->fallback);
    buf_text(out, " | ");
    put_limits(out, option);
    buf_printf(out, " | %s | ", option->flags & OPTION_RESTART ? "restart" : "reload");
    put_cell(out, option->description);
    buf_text(out, " |\n");
}

/* A section's table, then those of the sections in it. */
static void put_section(struct buf *out, const struct option_section *section) {
    must(section->n > 0);
    bool sources = section == &config_source_section;
    buf_printf(out, "\n## %s%s%s%s\n\n", section->title, *section->name ? ": `" : "", section->name, *section->name ? "`" : "");
    buf_printf(
        out, "| key | type | %sdefault | limits | change | what it does |\n|---|---|%s---|---|---|---|\n", sources ? "for | " : "", sources ? "---|" : "");
    for (size_t i = 0; i < section->n; i++) put_option(out, &section->options[i], sources);
    for (size_t i = 0; i < section->n; i++) {
        if (section->options[i].section) put_section(out, section->options[i].section);
    }
}

void config_write_options_md(struct buf *out) {
    buf_text(out,
        "# Options of cupel.yaml\n\n"
        "Made from the option table (`src/config/options.c`) by `cupel generate options`; do not edit. Sizes are written as `128MB` (millions) or `64KiB` "
        "(1024), "
        "times as\n"
        "`300s`, `24h`, `7d`. In every value `${NAME}` is an environment variable, `${NAME:-default}` the same with a default, `${file:/run/secrets/x}` the "
        "content of\n"
        "a file, and `$${` a plain `${`. Unknown keys, wrong types, names that point to nothing and values out of their limits are errors with line and "
        "column; one run\n"
        "reports all of them. *change*: `reload` is taken over by SIGHUP, `restart` needs one. `docs/cupel.schema.json` tells editors the same.\n\n"
        "Limits of the file itself: 1 MiB, 32 levels, 100,000 values (aliases counted as what they stand for), 64 KiB per value.\n");
    put_section(out, &config_root_section);
}

/* ---- JSON Schema, draft 2020-12 ---- */

static void put_property(struct json_writer *w, const struct option *option) {
    must(option->description);
    json_name(w, option->name);
    json_begin_object(w);
    json_put_text(w, "description", option->description);
    if (option->fallback) json_put_text(w, "default", option->fallback);
    config_option_types[option->type].schema(w, option);
    json_end_object(w);
}

/* Keys that mean different things for different types of sources: any of the meanings. */
static bool named_before(const struct option_section *section, size_t index) {
    for (size_t i = 0; i < index; i++) {
        if (strcmp(section->options[i].name, section->options[index].name) == 0) return true;
    }
    return false;
}

/* Every key once; see named_before. */
static void put_properties(struct json_writer *w, const struct option_section *section) {
    must(section->n > 0);
    for (size_t i = 0; i < section->n; i++) {
        const struct option *option = &section->options[i], *second = NULL;
        if (named_before(section, i)) continue;
        for (size_t j = i + 1; j < section->n && !second; j++) {
            if (strcmp(section->options[j].name, option->name) == 0) second = &section->options[j];
        }
        if (!second) {
            put_property(w, option);
            continue;
        }
        ARENA_SCOPE(scratch);
        json_name(w, option->name);
        json_begin_object(w);
        json_put_text(w, "description", arena_printf(scratch, "webhook: %s landing: %s", option->description, second->description));
        json_name(w, "anyOf");
        json_begin_array(w);
        for (int k = 0; k < 2; k++) {
            const struct option *one = k ? second : option;
            json_begin_object(w);
            config_option_types[one->type].schema(w, one);
            json_end_object(w);
        }
        json_end_array(w);
        json_end_object(w);
    }
}

void config_schema_section(struct json_writer *w, const struct option_section *section) {
    must(w && section);
    json_name(w, "type");
    json_begin_array(w);
    json_text(w, "object");
    json_text(w, "null");
    json_end_array(w);
    json_put_bool(w, "additionalProperties", false);
    json_name(w, "properties");
    json_begin_object(w);
    put_properties(w, section);
    json_end_object(w);
    json_name(w, "required");
    json_begin_array(w);
    for (size_t i = 0; i < section->n; i++) {
        const struct option *option = &section->options[i];
        if ((option->flags & OPTION_REQUIRED) && !(option->flags & OPTION_SOURCE_TYPES)) json_text(w, option->name);
    }
    json_end_array(w);
}

void config_write_json_schema(struct buf *out) {
    struct json_writer w = json_write_to(out);
    json_begin_object(&w);
    json_put_text(&w, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_put_text(&w, "title", "cupel.yaml");
    config_schema_section(&w, &config_root_section);
    json_end_object(&w);
    buf_char(out, '\n');
    must(!out->failed);
}
