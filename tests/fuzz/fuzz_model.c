/* Model files: any text gives a model or problems whose places are inside the text; its words, and any tree, go through the graph. */
#include "flow/flow_priv.h"
#include "fuzz.h"

static void check_places(const struct config_problems *problems, struct str text) {
    for (size_t i = 0; i < problems->n; i++) { /* YAML ends lines at more than \n, so they are not counted here */
        must(problems->list[i].line >= 0 && (size_t)problems->list[i].line <= text.n + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_copy(data, size, 0);
    ARENA_SCOPE(arena);
    struct config_problems problems = {.file = "models/s/m.sql"};
    struct model_reader reader = {arena, &problems};
    struct model *m = model_read(&reader, "models/s/m.sql", "s", "m", str_make(text, size));
    must(m || problems.errors);
    if (m) {
        struct err err;
        size_t at = 0;
        struct model_set set = {.arena = arena, .models = &m, .n = 1, .by_name = map_new()};
        (void)map_put(set.by_name, str_of(m->pub.full), m);
        graph_scan_words(arena, m, m->pub.sql, NULL);
        (void)graph_read_tree(arena, m, str_of(m->pub.sql), NULL, &at, &err);
        graph_resolve(&reader, &set, NULL);
        model_finish(arena, m, "UTC");
        map_free(&set.by_name);
    }
    check_places(&problems, str_make(text, size));
    config_problems_free(&problems);
    free(text);
    return 0;
}
