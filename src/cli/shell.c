/* The interactive shell, over libedit's own interface (histedit.h): prompt, history, completion, and characters read by ourselves.
 *
 * What was typed is collected until a statement ends (sql_split.h), then run. Words for completion are loaded at the first Tab: starting costs nothing. */
#include "cli/shell.h"

#include <ctype.h>
#include <errno.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "cli/output.h"
#include "cli/sql_split.h"
#include "host/signals.h"
#include "host/terminal.h"
#include "http/http_client.h"

#define HISTORY_LINES 2000
#define SHOWN_MAX 200

struct shell {
    struct cli *cli;
    struct shell_options options;
    EditLine *line;
    History *history;
    char *history_file; /* NULL: no home */
    struct buf statement; /* what was typed so far of the statement */
    json_t *words; /* object: names of tables and columns, for completion; NULL until first wanted */
    bool words_whole; /* the server gave them all; else it is asked again at the next Tab */
    int keys; /* where characters are read */
    bool quit;
};

static const char *const keywords[] = {"SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "OFFSET", "JOIN", "LEFT JOIN", "INNER JOIN",
    "USING", "DISTINCT", "COUNT(*)", "SUM(", "AVG(", "MIN(", "MAX(", "CASE", "WHEN", "THEN", "ELSE", "END", "BETWEEN", "INTERVAL", "UNION ALL", "WITH", "DESC",
    "NULLS LAST", "IS NOT NULL", "json_decimal(", "json_extract_string(", "date_trunc("};
static const char *const dot_commands[] = {".tables", ".schema", ".mode", ".help", ".quit"};

/* ---- completion ---- */

static void add_word(struct shell *s, const char *word) {
    if (word && word[0]) json_object_set_new(s->words, word, json_true());
}

static void add_table_words(struct shell *s, const char *schema, const char *name) {
    must(s->line != NULL && s->history != NULL);
    json_t *table, *column;
    size_t i;
    BUF_SCOPE(path);
    char full[200];
    snprintf(full, sizeof full, "%s.%s", schema, name);
    add_word(s, full);
    buf_text(&path, "/v1/tables/");
    url_escape(&path, str_of(full));
    if (reach_json(s->options.reach, &(struct ask){.path = buf_cstr(&path), .timeout_ms = 3000}, &table, NULL) != OK) return;
    json_array_foreach(json_object_get(table, "columns"), i, column) add_word(s, json_string_value(json_object_get(column, "name")));
    json_decref(table);
}

static void load_words(struct shell *s) {
    must(s->line != NULL && s->history != NULL);
    json_t *answer, *table;
    size_t i;
    json_decref(s->words);
    s->words = json_object();
    s->words_whole = false;
    for (i = 0; i < sizeof keywords / sizeof keywords[0]; i++) add_word(s, keywords[i]);
    for (i = 0; i < sizeof dot_commands / sizeof dot_commands[0]; i++) add_word(s, dot_commands[i]);
    if (reach_json(s->options.reach, &(struct ask){.path = "/v1/tables", .timeout_ms = 3000}, &answer, NULL) != OK) return;
    json_t *tables = json_is_array(answer) ? answer : json_object_get(answer, "tables");
    json_array_foreach(tables, i, table) {
        const char *schema = json_string_value(json_object_get(table, "schema")), *name = json_string_value(json_object_get(table, "name"));
        if (schema && name) add_table_words(s, schema, name);
    }
    json_decref(answer);
    s->words_whole = true;
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.' || (c & 0x80); }

static size_t common_length(const char *a, const char *b) {
    size_t n = 0;
    while (a[n] && tolower((unsigned char)a[n]) == tolower((unsigned char)b[n])) n++;
    return n;
}

/* What all candidates that begin with `typed` share; lists them when that brings nothing new. */
static unsigned char complete(EditLine *line, int unused) {
    struct shell *s = NULL;
    el_get(line, EL_CLIENTDATA, &s);
    const LineInfo *info = el_line(line);
    const char *start = info->cursor, *word, *first = NULL;
    json_t *value;
    size_t shared = 0, n = 0;
    while (start > info->buffer && word_char(start[-1])) start--;
    struct str typed = str_make(start, (size_t)(info->cursor - start));
    if (typed.n == 0) return CC_ERROR;
    if (!s->words || !s->words_whole) load_words(s);
    json_object_foreach(s->words, word, value) {
        if (strlen(word) < typed.n || !str_ieq(typed, str_make(word, typed.n))) continue;
        shared = n++ == 0 ? strlen(word) : common_length(first, word) < shared ? common_length(first, word) : shared;
        if (!first) first = word;
    }
    if (n == 0) return CC_ERROR;
    if (shared > typed.n || n == 1) {
        AUTO_FREE char *insert = mem_printf("%.*s%s", (int)(shared - typed.n), first + typed.n, n == 1 && first[strlen(first) - 1] != '(' ? " " : "");
        el_insertstr(line, insert);
        return CC_REFRESH;
    }
    size_t shown = 0;
    putchar('\n');
    json_object_foreach(s->words, word, value) {
        if (strlen(word) >= typed.n && str_ieq(typed, str_make(word, typed.n)) && shown++ < SHOWN_MAX) printf("%s  ", word);
    }
    putchar('\n');
    return CC_REDISPLAY;
}

/* ---- dot commands ---- */

static void show_tables(struct shell *s) {
    must(s->line != NULL && s->history != NULL);
    static const struct column columns[] = {
        {"SCHEMA", "schema", COLUMN_TEXT}, {"TABLE", "name", COLUMN_TEXT}, {"ROWS", "rows", COLUMN_NUMBER}, {"SIZE", "bytes", COLUMN_BYTES}};
    struct err err = {0};
    json_t *answer;
    if (reach_json(s->options.reach, &(struct ask){.path = "/v1/tables"}, &answer, &err) != OK) {
        cli_failed(&err);
        return;
    }
    print_rows(s->cli, json_is_array(answer) ? answer : json_object_get(answer, "tables"), columns, 4);
    json_decref(answer);
}

static void show_schema(struct shell *s, struct str name) {
    must(s->line != NULL && s->history != NULL);
    static const struct column columns[] = {{"COLUMN", "name", COLUMN_TEXT}, {"TYPE", "type", COLUMN_TEXT}};
    struct err err = {0};
    json_t *answer;
    BUF_SCOPE(path);
    if (name.n == 0) {
        fprintf(stderr, "cupel: .schema needs a table: .schema bronze.orders\n");
        return;
    }
    buf_text(&path, "/v1/tables/");
    if (!memchr(name.p, '.', name.n)) buf_text(&path, "bronze.");
    url_escape(&path, name);
    if (reach_json(s->options.reach, &(struct ask){.path = buf_cstr(&path)}, &answer, &err) != OK) {
        cli_failed(&err);
        return;
    }
    print_rows(s->cli, json_object_get(answer, "columns"), columns, 2);
    json_decref(answer);
}

static void set_mode(struct shell *s, struct str mode) {
    static const char *const modes[] = {"table", "csv", "json", "ndjson"};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (!str_is(mode, modes[i])) continue;
        *s->options.format = modes[i];
        return;
    }
    fprintf(stderr, "cupel: .mode table, csv, json or ndjson\n");
}

static void dot_command(struct shell *s, struct str line) {
    must(s->line != NULL && s->history != NULL);
    struct str rest = str_trim(line), name = str_cut(&rest, ' ');
    rest = str_trim(rest);
    if (str_is(name, ".quit") || str_is(name, ".exit"))
        s->quit = true;
    else if (str_is(name, ".tables"))
        show_tables(s);
    else if (str_is(name, ".schema"))
        show_schema(s, rest);
    else if (str_is(name, ".mode"))
        set_mode(s, rest);
    else if (str_is(name, ".help"))
        printf(".tables          all tables\n.schema TABLE    columns of a table\n.mode FORMAT     table, csv, json or ndjson\n.quit            leave (also "
               "Ctrl-D)\n"
               "A statement ends with ; and may go over several lines. Ctrl-C gives up the line or the query. Tab completes keywords, tables and columns.\n");
    else
        fprintf(stderr, "cupel: unknown command " STR_FMT "; .help lists all\n", STR_ARG(name));
}

/* ---- the loop ---- */

/* Bytes of one UTF-8 character, by its first. */
static size_t character_bytes(unsigned char first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

/* Reads one character. Ours instead of libedit's, which goes on reading after the first interrupted read and so misses Ctrl-C. */
static int read_character(EditLine *line, wchar_t *out) {
    struct shell *s = NULL;
    unsigned char bytes[4];
    size_t have = 0, want = 1, got;
    el_get(line, EL_CLIENTDATA, &s);
    while (have < want) {
        if (host_interrupted()) {
            errno = EINTR;
            return -1;
        }
        if (!host_wait_readable(s->keys, 100)) continue;
        enum status st = host_read_now(s->keys, bytes + have, 1, &got, NULL);
        if (st == E_BUSY) continue;
        if (st != OK) return -1;
        if (got == 0) return 0;
        if (have++ == 0) want = character_bytes(bytes[0]);
    }
    static const unsigned char first_mask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    uint32_t c = bytes[0] & first_mask[want];
    for (size_t i = 1; i < want; i++) c = c << 6 | (bytes[i] & 0x3F);
    *out = (wchar_t)c;
    return 1;
}

static char *prompt(EditLine *line) {
    struct shell *s = NULL;
    el_get(line, EL_CLIENTDATA, &s);
    static char first[] = "cupel> ", more[] = "   ...> ";
    return s->statement.n ? more : first;
}

static void remember(struct shell *s, struct str text) {
    HistEvent event;
    BUF_SCOPE(copy);
    buf_str(&copy, str_trim(text));
    if (copy.n) history(s->history, &event, H_ENTER, buf_cstr(&copy));
}

/* Runs every whole statement of what was typed; what is left is the beginning of the next. */
static void take_line(struct shell *s, struct str line) {
    size_t end;
    if (s->statement.n == 0 && str_starts(str_trim(line), STR("."))) {
        remember(s, line);
        dot_command(s, line);
        return;
    }
    buf_str(&s->statement, line);
    while (sql_statement_end(buf_view(&s->statement), &end)) {
        BUF_SCOPE(statement);
        buf_str(&statement, str_head(buf_view(&s->statement), end));
        remember(s, str_head(buf_view(&s->statement), end + 1));
        memmove(s->statement.p, s->statement.p + end + 1, s->statement.n - end - 1);
        s->statement.n -= end + 1;
        host_interrupts_clear();
        if (!sql_is_blank(buf_view(&statement))) s->options.run(s->options.context, buf_view(&statement));
        host_interrupts_clear();
    }
    if (sql_is_blank(buf_view(&s->statement)) && str_trim(buf_view(&s->statement)).n == 0) buf_clear(&s->statement);
}

static void open_editor(struct shell *s) {
    HistEvent event;
    const char *home = getenv("HOME");
    s->keys = host_terminal_reader(0);
    s->line = el_init("cupel", stdin, stdout, stderr);
    s->history = history_init();
    must(s->line && s->history);
    history(s->history, &event, H_SETSIZE, HISTORY_LINES);
    history(s->history, &event, H_SETUNIQUE, 1);
    if (home && home[0]) {
        s->history_file = mem_printf("%s/.cupel_history", home);
        history(s->history, &event, H_LOAD, s->history_file);
    }
    el_set(s->line, EL_CLIENTDATA, s);
    el_set(s->line, EL_PROMPT, prompt);
    el_set(s->line, EL_EDITOR, "emacs");
    el_set(s->line, EL_SIGNAL, 0);
    el_set(s->line, EL_GETCFN, read_character);
    el_set(s->line, EL_HIST, history, s->history);
    el_set(s->line, EL_ADDFN, "cupel-complete", "complete a name", complete);
    el_set(s->line, EL_BIND, "^I", "cupel-complete", NULL);
    el_source(s->line, NULL);
}

static void close_editor(struct shell *s) {
    HistEvent event;
    if (s->history_file) history(s->history, &event, H_SAVE, s->history_file);
    history_end(s->history);
    el_end(s->line);
    if (s->keys != 0) host_close(&s->keys);
    free(s->history_file);
    json_decref(s->words);
    buf_free(&s->statement);
}

int shell_loop(struct cli *cli, const struct shell_options *options) {
    must(options->run && options->format);
    struct shell s = {.cli = cli, .options = *options};
    open_editor(&s);
    printf("Cupel %s, %s. A statement ends with ;   .help tells more.\n", CUPEL_VERSION,
        reach_is_server(options->reach) ? reach_address(options->reach) : "no server: working alone");
    host_interrupts_begin();
    while (!s.quit) {
        int n = 0;
        errno = 0;
        const char *text = el_gets(s.line, &n);
        if (text && n > 0 && !host_interrupted()) {
            take_line(&s, str_make(text, (size_t)n));
        } else if (host_interrupted() || (n < 0 && errno == EINTR)) { /* Ctrl-C: give the statement up */
            host_interrupts_clear();
            buf_clear(&s.statement);
            el_reset(s.line);
            putchar('\n');
        } else {
            putchar('\n');
            break;
        }
    }
    host_interrupts_end();
    close_editor(&s);
    return 0;
}
