/* The list of what is wrong: collected over the whole reading, printed sorted by place. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "config/config_priv.h"

/* Counts always, keeps up to CONFIG_PROBLEMS_MAX. */
static void add(struct config_problems *problems, bool warning, int line, int column, const char *format, va_list args) {
    must(problems->n <= CONFIG_PROBLEMS_MAX);
    if (!warning) problems->errors++;
    if (problems->n == CONFIG_PROBLEMS_MAX) {
        problems->cut = true;
        return;
    }
    if (problems->n == problems->cap) {
        problems->cap = problems->cap ? problems->cap * 2 : 16;
        problems->list = mem_realloc(problems->list, problems->cap * sizeof *problems->list);
    }
    ARENA_SCOPE(scratch);
    problems->list[problems->n++] = (struct config_problem){.line = line,
        .column = column,
        .warning = warning,
        .file = problems->file ? mem_strdup(problems->file) : NULL,
        .text = mem_strdup(arena_vprintf(scratch, format, args))};
}

void config_problem_add(struct config_problems *problems, bool warning, int line, int column, const char *format, ...) {
    must(problems && format);
    va_list args;
    va_start(args, format);
    add(problems, warning, line, column, format, args);
    va_end(args);
}

void config_error_at(struct config_problems *problems, const struct yaml_node *node, const char *format, ...) {
    va_list args;
    must(node != NULL);
    va_start(args, format);
    add(problems, false, node->line, node->column, format, args);
    va_end(args);
}

void config_problems_free(struct config_problems *problems) {
    must(problems);
    for (size_t i = 0; i < problems->n; i++) {
        free(problems->list[i].text);
        free(problems->list[i].file);
    }
    free(problems->list);
    *problems = (struct config_problems){0};
}

/* By place, cupel.yaml first; an error before a warning at the same one. */
static int compare(const void *a, const void *b) {
    const struct config_problem *x = a, *y = b;
    int by_file = strcmp(x->file ? x->file : "", y->file ? y->file : "");
    if (by_file) return by_file;
    if (x->line != y->line) return x->line < y->line ? -1 : 1;
    if (x->column != y->column) return x->column < y->column ? -1 : 1;
    return (int)x->warning - (int)y->warning;
}

void config_problems_sort(struct config_problems *problems) {
    if (problems->n > 1) qsort(problems->list, problems->n, sizeof *problems->list, compare);
}

static void write_one(const struct config_problem *problem, const char *file, struct buf *out) {
    buf_text(out, problem->file ? problem->file : file);
    if (problem->line > 0) buf_printf(out, ":%d:%d", problem->line, problem->column);
    buf_printf(out, ": %s%s", problem->warning ? "warning: " : "", problem->text);
}

void config_problems_write(const struct config_problems *problems, const char *file, struct buf *out) {
    must(problems && file && out);
    for (size_t i = 0; i < problems->n; i++) {
        write_one(&problems->list[i], file, out);
        buf_char(out, '\n');
    }
    if (problems->cut) buf_printf(out, "%s: more than %d problems; only the first ones are shown\n", file, CONFIG_PROBLEMS_MAX);
}

enum status config_problems_status(const struct config_problems *problems, struct err *err) {
    if (problems->errors == 0) return OK;
    BUF_SCOPE(line);
    for (size_t i = 0; i < problems->n && line.n == 0; i++) {
        if (!problems->list[i].warning) write_one(&problems->list[i], CONFIG_FILE, &line);
    }
    if (problems->errors > 1) buf_printf(&line, " (and %zu more)", problems->errors - 1);
    return err_set(err, E_CONFIG, "%s", line.n ? buf_cstr(&line) : "too many problems in " CONFIG_FILE);
}
