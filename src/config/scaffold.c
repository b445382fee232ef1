/* What `cupel init` writes. The template `retail` is the folder retail/, embedded at build. */
#include <string.h>

#include "base/assert.h"
#include "base/embedded.h"
#include "base/mem.h"
#include "config/config_priv.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char EMPTY_YAML[] = "# All keys with defaults and limits: docs/options.md, or `cupel generate options`.\n"
                                 "project: \"@PROJECT@\"\n"
                                 "timezone: UTC\n"
                                 "listen: 127.0.0.1:8080\n"
                                 "\n"
                                 "# streams:\n"
                                 "#   orders:\n"
                                 "#     partitions: 2\n"
                                 "#     key: customer_id          # same key, same partition, in order\n"
                                 "#     dedupe: order_id          # JSON path | header:<name> | body | none\n"
                                 "\n"
                                 "# sources:\n"
                                 "#   - {name: orders_hook, type: webhook, stream: orders, scheme: shopify, secret: \"${SHOPIFY_SECRET}\"}\n"
                                 "#   - {name: pos, type: landing, path: landing/pos, table: bronze.pos}\n";

static const char GITIGNORE[] = "/data/\n/landing/\n";

static const struct config_scaffold_file EMPTY[] = {
    {CONFIG_FILE, EMPTY_YAML}, {".gitignore", GITIGNORE}, {"models/", NULL}, {"expectations/", NULL}, {"connectors/", NULL}, {"reference/", NULL}};
/* Besides the files of retail/: its folders that have none. */
static const struct config_scaffold_file RETAIL_MORE[] = {
    {".gitignore", GITIGNORE}, {"connectors/", NULL}, {"landing/pos/", NULL}, {"landing/inventory/", NULL}, {"landing/access_log/", NULL}};

extern const struct embedded_file retail_files[]; /* made by tools/embed */

/* The pack's own project file goes first, its examples are not part of a project. */
static size_t retail_scaffold(struct arena *arena, const struct config_scaffold_file **out) {
    size_t most = 0, n = 1;
    while (retail_files[most].path) most++;
    struct config_scaffold_file *files = arena_new_array(arena, struct config_scaffold_file, most + COUNT(RETAIL_MORE));
    for (const struct embedded_file *from = retail_files; from->path; from++) {
        if (!strncmp(from->path, "examples/", strlen("examples/"))) continue;
        must(memchr(from->bytes, '\0', from->n) == NULL);
        struct config_scaffold_file file = {from->path, (const char *)from->bytes};
        if (!strcmp(from->path, CONFIG_FILE))
            files[0] = file;
        else
            files[n++] = file;
    }
    must(files[0].path);
    for (size_t i = 0; i < COUNT(RETAIL_MORE); i++) files[n++] = RETAIL_MORE[i];
    *out = files;
    return n;
}

enum status config_scaffold(struct arena *arena, const char *template_name, const struct config_scaffold_file **out, size_t *n, struct err *err) {
    must(arena && template_name && out && n);
    bool retail = strcmp(template_name, "retail") == 0;
    if (!retail && strcmp(template_name, "empty") != 0)
        return err_set(err, E_INVALID, "there is no template \"%s\"; there are retail and empty", template_name);
    if (retail)
        *n = retail_scaffold(arena, out);
    else
        *out = EMPTY, *n = COUNT(EMPTY);
    return OK;
}

/* The text with the project's name in it, quoted when YAML could take it for something else. */
static void fill_in(struct buf *out, const char *text, const char *project) {
    must(text && project);
    struct str rest = str_of(text), mark = STR("\"@PROJECT@\"");
    for (long at = str_find(rest, mark); at >= 0; at = str_find(rest, mark)) {
        buf_put(out, rest.p, (size_t)at);
        buf_char(out, '"');
        for (const char *c = project; *c; c++) {
            if (*c == '"' || *c == '\\') buf_char(out, '\\');
            if (c[0] == '$' && c[1] == '{') buf_char(out, '$'); /* "${x}" in a folder's name is no variable */
            if ((unsigned char)*c >= 0x20) buf_char(out, *c);
        }
        buf_char(out, '"');
        rest = str_from(rest, (size_t)at + mark.n);
    }
    buf_str(out, rest);
}

/* A folder, or a file that is not there yet, with the folders above it. */
static enum status make_one(const struct host *host, const char *dir, const struct config_scaffold_file *file, const char *project, struct err *err) {
    must(file->path);
    AUTO_FREE char *path = mem_printf("%s/%s", dir, file->path);
    char *last = strrchr(path, '/');
    *last = '\0';
    enum status status = fs_mkdirs(host->fs, path, err);
    if (status != OK || !file->text) return status;
    *last = '/';
    if (fs_exists(host->fs, path)) return OK;
    BUF_SCOPE(text);
    fill_in(&text, file->text, project);
    return fs_write_atomic(host->fs, path, buf_view(&text), err);
}

enum status config_init(const struct host *host, const char *dir, const char *template_name, struct err *err) {
    must(host && dir && template_name);
    ARENA_SCOPE(arena);
    const struct config_scaffold_file *files = NULL;
    size_t n = 0;
    enum status status = config_scaffold(arena, template_name, &files, &n, err);
    if (status != OK) return status;
    must(n > 0 && strcmp(files[0].path, CONFIG_FILE) == 0);
    AUTO_FREE char *main_file = mem_printf("%s/" CONFIG_FILE, dir);
    if (fs_exists(host->fs, main_file)) return err_set(err, E_CONFLICT, "%s exists already; nothing was changed", main_file);
    struct config *defaults = config_defaults(dir); /* for the project's name */
    status = fs_mkdirs(host->fs, dir, err);
    for (size_t i = 1; i < n && status == OK; i++) status = make_one(host, dir, &files[i], defaults->project, err);
    if (status == OK) status = make_one(host, dir, &files[0], defaults->project, err); /* last: a project that is half there has none */
    config_free(&defaults);
    return status;
}
