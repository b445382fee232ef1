/* Completion scripts for bash and zsh, made from the table of commands. Names of streams, tables and so on come from `cupel names`, which asks a running
 * server and stays silent when there is none. */
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "cli/command.h"

static const char *complete_name(enum cli_complete complete) {
    switch (complete) {
    case COMPLETE_FILE: return "files";
    case COMPLETE_DIR: return "dirs";
    case COMPLETE_STREAM: return "streams";
    case COMPLETE_TABLE: return "tables";
    case COMPLETE_SOURCE: return "sources";
    case COMPLETE_CONSUMER: return "consumers";
    case COMPLETE_COMMAND: return "commands";
    case COMPLETE_NONE: break;
    }
    return "none";
}

/* Shell code that sets the offered words for one kind. */
static void bash_offer(struct buf *out, enum cli_complete complete, const char *indent) {
    const char *name = complete_name(complete);
    if (complete == COMPLETE_FILE)
        buf_printf(out, "%sCOMPREPLY=($(compgen -f -- \"$cur\"))\n", indent);
    else if (complete == COMPLETE_DIR)
        buf_printf(out, "%sCOMPREPLY=($(compgen -d -- \"$cur\"))\n", indent);
    else if (complete != COMPLETE_NONE)
        buf_printf(out, "%sCOMPREPLY=($(compgen -W \"$(cupel $where names %s 2>/dev/null)\" -- \"$cur\"))\n", indent, name);
}

static void bash_values(struct buf *out, const struct cli_option *options) {
    for (const struct cli_option *o = options; o && o->name; o++) {
        if (!o->value || (!o->choices && o->complete == COMPLETE_NONE)) continue;
        buf_printf(out, "        --%s", o->name);
        if (o->letter) buf_printf(out, "|-%c", o->letter);
        buf_text(out, ")\n");
        if (o->choices) {
            buf_text(out, "            COMPREPLY=($(compgen -W \"");
            struct str rest = str_of(o->choices);
            while (rest.p) {
                buf_str(out, str_cut(&rest, '|'));
                buf_char(out, ' ');
            }
            buf_text(out, "\" -- \"$cur\"))\n");
        } else {
            bash_offer(out, o->complete, "            ");
        }
        buf_text(out, "            return;;\n");
    }
}

static void option_words(struct buf *out, const struct cli_option *options) {
    for (const struct cli_option *o = options; o && o->name; o++) buf_printf(out, "--%s ", o->name);
}

static void bash_command(struct buf *out, const struct command_group *group, const struct command *c) {
    buf_printf(out, "    '%s%s%s')\n        case \"$prev\" in\n", group->name, c->verb ? " " : "", c->verb ? c->verb : "");
    bash_values(out, c->options);
    buf_text(out, "        esac\n        options=\"");
    option_words(out, c->options);
    buf_text(out, "\"\n        if [[ $cur != -* ]]; then\n            :\n");
    bash_offer(out, c->complete, "            ");
    buf_text(out, "            return\n        fi;;\n");
}

static void bash_head(struct buf *out) {
    buf_text(out,
        "# bash completion for cupel; made by `cupel completion bash`\n_cupel() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
        "command= verb= where= "
        "options= i\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        case \"${COMP_WORDS[i]}\" in\n        -C|--dir) i=$((i + 1)); where=\"-C "
        "${COMP_WORDS[i]}\";;\n"
        "        -*) ;;\n        *) if [[ -z $command ]]; then command=${COMP_WORDS[i]}; elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}; fi;;\n        esac\n "
        "   done\n"
        "    case \"$prev\" in\n    -C|--dir) COMPREPLY=($(compgen -d -- \"$cur\")); return;;\n    esac\n");
}

static bool has_verbs(const struct command_group *group) { return group->commands_n > 0 && group->commands[0].verb != NULL; }

/* `case "$command"` lines that offer the verbs and then name the full command in $command. */
static void bash_verbs(struct buf *out) {
    const struct command_group *const *groups = command_groups();
    buf_text(out, "    case \"$command\" in\n    '')\n        COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; groups[i]; i++) {
        if (!groups[i]->hidden) buf_printf(out, "%s ", groups[i]->name);
    }
    option_words(out, cli_global_options);
    buf_text(out, "\" -- \"$cur\"))\n        return;;\n");
    for (size_t i = 0; groups[i]; i++) {
        if (groups[i]->hidden || !has_verbs(groups[i])) continue;
        buf_printf(out, "    %s)\n        if [[ -z $verb ]]; then\n            COMPREPLY=($(compgen -W \"", groups[i]->name);
        for (size_t k = 0; k < groups[i]->commands_n; k++) buf_printf(out, "%s ", groups[i]->commands[k].verb);
        buf_text(out, "\" -- \"$cur\"))\n            return\n        fi\n        command=\"$command $verb\";;\n");
    }
    buf_text(out, "    esac\n");
}

void completion_bash(struct buf *out) {
    const struct command_group *const *groups = command_groups();
    bash_head(out);
    bash_verbs(out);
    buf_text(out, "    case \"$command\" in\n");
    for (size_t i = 0; groups[i]; i++) {
        for (size_t k = 0; !groups[i]->hidden && k < groups[i]->commands_n; k++) bash_command(out, groups[i], &groups[i]->commands[k]);
    }
    buf_text(out, "    esac\n    COMPREPLY=($(compgen -W \"$options ");
    option_words(out, cli_global_options);
    buf_text(out, "\" -- \"$cur\"))\n}\ncomplete -o filenames -o bashdefault -F _cupel cupel\n");
}

/* ---- zsh ---- */

/* Text inside single quotes and brackets of an _arguments specification. */
static void zsh_text(struct buf *out, const char *text) {
    for (const char *p = text; *p; p++) {
        if (*p == '\'')
            buf_text(out, "'\\''");
        else if (*p == '[' || *p == ']' || *p == ':')
            buf_printf(out, "\\%c", *p);
        else
            buf_char(out, *p);
    }
}

static void zsh_action(struct buf *out, enum cli_complete complete, const char *choices) {
    if (choices) {
        buf_char(out, '(');
        struct str rest = str_of(choices);
        while (rest.p) {
            buf_str(out, str_cut(&rest, '|'));
            if (rest.p) buf_char(out, ' ');
        }
        buf_char(out, ')');
    } else if (complete == COMPLETE_FILE) {
        buf_text(out, "_files");
    } else if (complete == COMPLETE_DIR) {
        buf_text(out, "_files -/");
    } else if (complete != COMPLETE_NONE) {
        buf_printf(out, "{_cupel_names %s}", complete_name(complete));
    }
}

static void zsh_options(struct buf *out, const struct cli_option *options) {
    for (const struct cli_option *o = options; o && o->name; o++) {
        for (int form = o->letter ? 0 : 1; form < 2; form++) {
            buf_text(out, " \\\n            '");
            if (o->repeat) buf_char(out, '*');
            if (form == 0)
                buf_printf(out, "-%c", o->letter);
            else
                buf_printf(out, "--%s", o->name);
            buf_char(out, '[');
            zsh_text(out, o->help);
            buf_char(out, ']');
            if (o->value) {
                buf_char(out, ':');
                zsh_text(out, o->value);
                buf_char(out, ':');
                zsh_action(out, o->complete, o->choices);
            }
            buf_char(out, '\'');
        }
    }
}

static void zsh_words(struct buf *out, const struct command_group *group) {
    for (size_t k = 0; k < group->commands_n; k++) {
        buf_printf(out, " '%s:", group->commands[k].verb);
        zsh_text(out, group->commands[k].summary);
        buf_char(out, '\'');
    }
}

static void zsh_command(struct buf *out, const struct command_group *group, const struct command *c) {
    buf_printf(out, "    '%s%s%s')\n        _arguments", group->name, c->verb ? " " : "", c->verb ? c->verb : "");
    zsh_options(out, c->options);
    zsh_options(out, cli_global_options);
    buf_text(out, " \\\n            '*:argument:");
    zsh_action(out, c->complete, NULL);
    buf_text(out, "';;\n");
}

void completion_zsh(struct buf *out) {
    const struct command_group *const *groups = command_groups();
    buf_text(out,
        "#compdef cupel\n# zsh completion for cupel; made by `cupel completion zsh`\n_cupel_names() {\n    local -a names\n"
        "    names=(${(f)\"$(cupel $cupel_where names $1 2>/dev/null)\"})\n    compadd -a names\n}\n_cupel() {\n    local -a commands cupel_where\n    local "
        "command= i=2\n"
        "    if [[ ${words[2]} == (-C|--dir) && CURRENT -gt 3 ]]; then cupel_where=(-C ${words[3]}); i=4; fi\n    if (( CURRENT == i )); then\n        "
        "commands=(");
    for (size_t i = 0; groups[i]; i++) {
        if (groups[i]->hidden) continue;
        buf_printf(out, " '%s:", groups[i]->name);
        zsh_text(out, groups[i]->summary);
        buf_char(out, '\'');
    }
    buf_text(out, ")\n        _describe command commands\n        return\n    fi\n    command=${words[i]}\n    case $command in\n");
    for (size_t i = 0; groups[i]; i++) {
        if (groups[i]->hidden || !has_verbs(groups[i])) continue;
        buf_printf(out, "    %s)\n        if (( CURRENT == i + 1 )); then\n            commands=(", groups[i]->name);
        zsh_words(out, groups[i]);
        buf_text(
            out, ")\n            _describe command commands\n            return\n        fi\n        command=\"$command ${words[i+1]}\"; i=$((i + 1));;\n");
    }
    buf_text(out, "    esac\n    words=(cupel ${words[i+1,-1]}); CURRENT=$((CURRENT - i + 1))\n    case $command in\n");
    for (size_t i = 0; groups[i]; i++) {
        for (size_t k = 0; !groups[i]->hidden && k < groups[i]->commands_n; k++) zsh_command(out, groups[i], &groups[i]->commands[k]);
    }
    buf_text(out, "    esac\n}\nif [[ ${funcstack[1]} == _cupel ]]; then _cupel \"$@\"; else compdef _cupel cupel; fi\n");
}
