/* `${…}` inside scalars. What comes out of the environment or of a file is marked and never printed. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "config/config_priv.h"

/* POSIX.1 section 8.1, and small letters. */
static bool variable_name_valid(struct str name) {
    if (name.n == 0 || isdigit((unsigned char)name.p[0])) return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!isalnum((unsigned char)name.p[i]) && name.p[i] != '_') return false;
    }
    return true;
}

struct expansion {
    struct arena *arena;
    struct yaml_node *node;
    const struct config_environment *environment;
    struct config_problems *problems;
    struct buf out;
};

/* The file's content without the newline that editors and `echo` put at its end. */
static void expand_file(struct expansion *x, struct str path) {
    must(x->node->expanded);
    struct str content = STR_NULL;
    struct err err = {0};
    const struct config_environment *e = x->environment;
    enum status status =
        e && e->file ? e->file(e->context, x->arena, arena_str(x->arena, path).p, &content, &err) : err_set(&err, E_NOT_FOUND, "files cannot be read here");
    if (status != OK) {
        config_error_at(x->problems, x->node, "${file:" STR_FMT "}: %s", STR_ARG(path), err.text);
        return;
    }
    if (str_ends(content, STR("\n"))) content.n--;
    if (str_ends(content, STR("\r"))) content.n--;
    buf_str(&x->out, content);
}

/* NAME or NAME:-default. As in a shell, the default also stands for an empty value. */
static void expand_variable(struct expansion *x, struct str inside) {
    must(x->node->expanded);
    long at = str_find(inside, STR(":-"));
    struct str name = at >= 0 ? str_head(inside, (size_t)at) : inside;
    const struct config_environment *e = x->environment;
    if (!variable_name_valid(name)) {
        config_error_at(x->problems, x->node,
            "${" STR_FMT "} is not a variable's name; write ${NAME}, ${NAME:-default} or ${file:/path}, and $${ for a plain ${", STR_ARG(inside));
        return;
    }
    const char *value = e && e->variable ? e->variable(e->context, arena_str(x->arena, name).p) : NULL;
    if (at >= 0 && (!value || !*value)) {
        buf_str(&x->out, str_from(inside, (size_t)at + 2));
    } else if (!value) {
        config_error_at(
            x->problems, x->node, "environment variable " STR_FMT " is not set; write ${" STR_FMT ":-…} to give a default", STR_ARG(name), STR_ARG(name));
    } else {
        buf_text(&x->out, value);
    }
}

/* One `${…}` at the start of *rest; moves behind it. */
static void expand_one(struct expansion *x, struct str *rest) {
    must(str_starts(*rest, STR("${")));
    const char *close = memchr(rest->p, '}', rest->n);
    if (!close) {
        config_error_at(x->problems, x->node, "${ without a closing }; write $${ for a plain ${");
        *rest = str_from(*rest, rest->n);
        return;
    }
    struct str inside = {rest->p + 2, (size_t)(close - rest->p) - 2};
    *rest = str_from(*rest, inside.n + 3);
    x->node->expanded = true;
    if (str_starts(inside, STR("file:"))) {
        expand_file(x, str_from(inside, 5));
    } else {
        expand_variable(x, inside);
    }
}

void config_expand(struct arena *arena, struct yaml_node *node, const struct config_environment *environment, struct config_problems *problems) {
    must(node->kind == YAML_TEXT);
    node->text = node->raw;
    if (!memchr(node->raw.p, '$', node->raw.n)) return;
    size_t errors_before = problems->errors;
    struct expansion x = {.arena = arena, .node = node, .environment = environment, .problems = problems};
    struct str rest = node->raw;
    while (rest.n > 0) {
        if (str_starts(rest, STR("$${"))) {
            buf_text(&x.out, "${");
            rest = str_from(rest, 3);
        } else if (str_starts(rest, STR("${"))) {
            expand_one(&x, &rest);
        } else {
            buf_char(&x.out, *rest.p);
            rest = str_from(rest, 1);
        }
    }
    if (x.out.n > YAML_SCALAR_BYTES_MAX) config_error_at(problems, node, "the value is longer than %u bytes after expansion", YAML_SCALAR_BYTES_MAX);
    node->broken = problems->errors > errors_before;
    node->text = arena_str(arena, buf_view(&x.out));
    buf_free(&x.out);
}
