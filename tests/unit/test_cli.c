/* The command line: parsing, "did you mean", texts made from the table, where SQL statements end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/sql_split.h"

struct parsed {
    struct cli cli;
    struct err err;
    enum status status;
};

static struct parsed parse(struct arena *arena, const char *const *words) {
    struct parsed p = {.cli = {.arena = arena}};
    int n = 0;
    while (words[n]) n++;
    p.status = cli_parse(&p.cli, n, (char **)(uintptr_t)words, &p.err);
    return p;
}
#define PARSE(arena, ...) parse(arena, (const char *const[]){"cupel", __VA_ARGS__, NULL})

static void options_stand_anywhere(void **state) {
    ARENA_SCOPE(arena);
    struct parsed p = PARSE(arena, "-C", "shop", "sql", "--format=csv", "SELECT 1", "-o", "x.csv", "--param", "1", "-pb", "--json");
    assert_int_equal(p.status, OK);
    assert_string_equal(p.cli.dir, "shop");
    assert_string_equal(p.cli.group->name, "sql");
    assert_string_equal(cli_value(&p.cli, "format"), "csv");
    assert_string_equal(cli_value(&p.cli, "output"), "x.csv");
    assert_string_equal(cli_value(&p.cli, "param"), "b");
    assert_true(p.cli.json);
    assert_int_equal(p.cli.args_n, 1);
    assert_string_equal(p.cli.args[0], "SELECT 1");
}

static void two_dashes_end_options(void **state) {
    ARENA_SCOPE(arena);
    struct parsed p = PARSE(arena, "sql", "--", "--json");
    assert_int_equal(p.status, OK);
    assert_false(p.cli.json);
    assert_string_equal(p.cli.args[0], "--json");
    p = PARSE(arena, "put", "orders", "-"); /* one dash is an argument: standard input */
    assert_int_equal(p.status, OK);
    assert_int_equal(p.cli.args_n, 2);
}

static void wrong_words_get_a_hint(void **state) {
    ARENA_SCOPE(arena);
    static const struct {
        const char *words[6];
        const char *text;
    } cases[] = {
        {{"cupel", "srve"}, "unknown command 'srve'; did you mean 'serve'?"},
        {{"cupel", "qqqqqqqq"}, "unknown command 'qqqqqqqq'; `cupel help` lists all"},
        {{"cupel", "stream", "tial", "x"}, "unknown command 'stream tial'; did you mean 'stream tail'?"},
        {{"cupel", "stream"}, "'stream' needs one of its commands; `cupel help stream` lists them"},
        {{"cupel", "sql", "--fromat", "csv"}, "unknown option --fromat; did you mean --format?"},
        {{"cupel", "sql", "--zzzzzzzz"}, "unknown option --zzzzzzzz"},
        {{"cupel", "sql", "--format", "xml"}, "--format: 'xml' is not one of table|csv|json|ndjson|parquet"},
        {{"cupel", "sql", "--format"}, "--format needs a value: FORMAT"},
        {{"cupel", "sql", "--json=1"}, "--json takes no value"},
        {{"cupel", "sql", "-f", "csv", "-fjson"}, "--format is given twice"},
        {{"cupel", "put"}, "an argument is missing: put STREAM [FILE…|-]"},
        {{"cupel", "sql", "a", "b"}, "one argument too many: 'b'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct parsed p = parse(arena, cases[i].words);
        assert_int_equal(p.status, E_INVALID);
        assert_string_equal(p.err.text, cases[i].text);
    }
}

static void numbers_have_limits(void **state) {
    ARENA_SCOPE(arena);
    struct err err;
    int64_t value = 0;
    struct parsed p = PARSE(arena, "events", "--limit", "1001");
    assert_int_equal(p.status, OK);
    assert_int_equal(cli_number(&p.cli, "limit", 20, 1, 1000, &value, &err), E_INVALID);
    assert_string_equal(err.text, "--limit: '1001' is not a number from 1 to 1000");
    p = PARSE(arena, "events");
    assert_int_equal(cli_number(&p.cli, "limit", 20, 1, 1000, &value, &err), OK);
    assert_int_equal(value, 20);
}

static void raw_groups_take_everything(void **state) {
    ARENA_SCOPE(arena);
    struct parsed p = PARSE(arena, "engine", "--fd", "9", "--no-such-option");
    assert_int_equal(p.status, OK);
    assert_int_equal(p.cli.args_n, 3);
}

/* Every command tells what it does and shows an example, and its texts fit in. */
static void every_row_is_complete(void **state) {
    for (size_t i = 0; command_groups()[i]; i++) {
        const struct command_group *group = command_groups()[i];
        assert_ptr_equal(command_find(str_of(group->name)), group);
        assert_true(group->commands_n > 0 && group->summary);
        for (size_t k = 0; k < group->commands_n; k++) {
            const struct command *c = &group->commands[k];
            assert_true(c->run && c->summary && c->arguments);
            assert_true(group->commands_n == 1 || c->verb);
            if (!group->hidden && !c->examples) fail_msg("%s %s has no example", group->name, c->verb ? c->verb : "");
            assert_true(c->summary[strlen(c->summary) - 1] != '.');
            BUF_SCOPE(text);
            help_command(group, c, &text);
            assert_true(str_find(buf_view(&text), str_of(c->summary)) >= 0);
        }
    }
}

static void texts_name_every_command(void **state) {
    BUF_SCOPE(overview);
    BUF_SCOPE(man);
    BUF_SCOPE(bash);
    BUF_SCOPE(zsh);
    help_overview(&overview);
    help_man(&man);
    completion_bash(&bash);
    completion_zsh(&zsh);
    for (size_t i = 0; command_groups()[i]; i++) {
        const struct command_group *group = command_groups()[i];
        struct buf *all[] = {&overview, &man, &bash, &zsh};
        for (size_t k = 0; k < 4 && !group->hidden; k++) assert_true(str_find(buf_view(all[k]), str_of(group->name)) >= 0);
    }
    assert_true(str_find(buf_view(&overview), STR("generate")) < 0); /* hidden */
    assert_true(str_starts(buf_view(&zsh), STR("#compdef cupel\n")));
}

static void statements_end_where_sql_says(void **state) {
    static const struct {
        const char *text;
        long end; /* -1: not ended */
    } cases[] = {
        {"select 1;", 8},
        {"select 1", -1},
        {"", -1},
        {"select ';';", 10},
        {"select 'it''s; fine';", 20},
        {"select 'open;", -1},
        {"select \"a;b\";", 12},
        {"select \"open;", -1},
        {"-- a; comment\nselect 1;", 22},
        {"-- only; a comment", -1},
        {"/* a; b */ select 1;", 19},
        {"/* open; ", -1},
        {"select $$a;b$$;", 14},
        {"select $t$a;$$;b$t$;", 19},
        {"select $t$a;b$u$;", -1},
        {"select $1;", 9},
        {"select $1 || $2;", 15},
        {";", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t end = 0;
        bool found = sql_statement_end(str_of(cases[i].text), &end);
        if (found != (cases[i].end >= 0) || (found && (long)end != cases[i].end))
            fail_msg("%s: %s at %zu", cases[i].text, found ? "ends" : "does not end", end);
    }
    assert_true(sql_is_blank(STR(" \n\t;;")));
    assert_true(sql_is_blank(STR("-- nothing\n /* at all */ ;")));
    assert_false(sql_is_blank(STR("-- nothing\nx")));
    assert_false(sql_is_blank(STR("''")));
}

static void numbers_for_people(void **state) {
    char text[32];
    assert_string_equal(with_commas(0, text), "0");
    assert_string_equal(with_commas(999, text), "999");
    assert_string_equal(with_commas(1000, text), "1,000");
    assert_string_equal(with_commas(-1234567, text), "-1,234,567");
    assert_string_equal(with_commas(INT64_MIN, text), "-9,223,372,036,854,775,808");
    assert_string_equal(as_bytes(999, text), "999 B");
    assert_string_equal(as_bytes(1500, text), "1.5 kB");
    assert_string_equal(as_bytes(UINT64_C(20000000000), text), "20.0 GB");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(two_dashes_end_options),
        cmocka_unit_test(wrong_words_get_a_hint),
        cmocka_unit_test(numbers_have_limits),
        cmocka_unit_test(raw_groups_take_everything),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(texts_name_every_command),
        cmocka_unit_test(statements_end_where_sql_says),
        cmocka_unit_test(numbers_for_people),
    };
    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
