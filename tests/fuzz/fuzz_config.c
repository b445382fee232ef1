/* Configuration: any text gives a configuration or problems with a place inside the text, never both, and all of it can be printed. */
#include "config/config.h"
#include "fuzz.h"

static const char *no_variable(void *context, const char *name) { return name[0] == 'A' ? "value" : NULL; }
static enum status no_file(void *context, struct arena *arena, const char *path, struct str *out, struct err *err) {
    return err_set(err, E_NOT_FOUND, "no files here");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_copy(data, size, 0);
    const struct config_environment environment = {.variable = no_variable, .file = no_file};
    struct config *config = NULL;
    struct config_problems problems = {0};
    struct err err;
    enum status status = config_parse(str_make(text, size), "/project", &environment, &config, &problems, &err);
    must((status == OK) == (config != NULL));
    must((status == OK) == (problems.errors == 0));
    BUF_SCOPE(out);
    config_problems_write(&problems, "cupel.yaml", &out);
    if (config) config_json(config, &out);
    config_problems_free(&problems);
    config_free(&config);
    free(text);
    return 0;
}
