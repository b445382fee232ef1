/* What `cupel init` writes. The retail template names the four sources of the retail pack. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "config/config_priv.h"

static const char EMPTY_YAML[] = "# All keys with defaults and limits: docs/options.md, or `cupel generate options`.\n"
                                 "project: @PROJECT@\n"
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

static const char RETAIL_YAML[] =
    "# All keys with defaults and limits: docs/options.md, or `cupel generate options`.\n"
    "project: @PROJECT@\n"
    "timezone: UTC                     # business day of the KPIs\n"
    "listen: 127.0.0.1:8080\n"
    "\n"
    "streams:\n"
    "  web_traffic:\n"
    "    description: Page views and clicks of the shop\n"
    "    partitions: 2\n"
    "    key: session_id               # one session, one partition, in order\n"
    "    dedupe: body                  # the feed carries no id: byte-identical bodies are one event\n"
    "  crm_interactions:\n"
    "    description: Contacts with customers\n"
    "    partitions: 2\n"
    "    key: customer_id\n"
    "    dedupe: body\n"
    "    # protect: {message_excerpt: mask, subject: customer_id}\n"
    "  inventory:\n"
    "    description: Stock levels pushed as they change\n"
    "    partitions: 2\n"
    "    key: product_id\n"
    "    dedupe: body\n"
    "\n"
    "sources:\n"
    "  # Files are taken once, by content, when renamed in or unchanged for 2 s; then they move to done/ or rejected/.\n"
    "  - {name: pos, type: landing, path: landing/pos, table: bronze.pos, description: Daily sales of the stores}\n"
    "  - {name: inventory_files, type: landing, path: landing/inventory, table: bronze.inventory_files, description: Hourly stock levels}\n"
    "  # Pushed by a shop, signed:\n"
    "  # - {name: web_hook, type: webhook, stream: web_traffic, scheme: hmac-sha256, secret: \"${WEB_HOOK_SECRET}\"}\n";

static const char GITIGNORE[] = "/data/\n/landing/\n";

static const char STORES_CSV[] = "store_id,name,region,warehouse_id\n1,Main street,centre,1\n2,Harbour,west,1\n3,Station,east,2\n";
static const char PRODUCTS_CSV[] = "product_id,sku,name,category,unit_cost\n1,SKU-0001,Canvas bag,bags,6.40\n2,SKU-0002,Wool scarf,accessories,11.25\n";
static const char PAGES_CSV[] = "segment,category\nproduct,product\ncategory,category\ncart,cart\ncheckout,checkout\nsearch,search\naccount,account\n";

static const struct config_scaffold_file EMPTY[] = {
    {CONFIG_FILE, EMPTY_YAML}, {".gitignore", GITIGNORE}, {"models/", NULL}, {"expectations/", NULL}, {"connectors/", NULL}, {"reference/", NULL}};
static const struct config_scaffold_file RETAIL[] = {{CONFIG_FILE, RETAIL_YAML}, {".gitignore", GITIGNORE}, {"models/", NULL}, {"expectations/", NULL},
    {"connectors/", NULL}, {"reference/", NULL}, {"reference/stores.csv", STORES_CSV}, {"reference/products.csv", PRODUCTS_CSV},
    {"reference/page_categories.csv", PAGES_CSV}, {"landing/", NULL}, {"landing/pos/", NULL}, {"landing/inventory/", NULL}};

enum status config_scaffold(const char *template_name, const struct config_scaffold_file **out, size_t *n, struct err *err) {
    must(template_name && out && n);
    bool retail = strcmp(template_name, "retail") == 0;
    if (!retail && strcmp(template_name, "empty") != 0)
        return err_set(err, E_INVALID, "there is no template \"%s\"; there are retail and empty", template_name);
    *out = retail ? RETAIL : EMPTY;
    *n = retail ? sizeof RETAIL / sizeof *RETAIL : sizeof EMPTY / sizeof *EMPTY;
    return OK;
}

/* The text with the project's name in it, quoted when YAML could take it for something else. */
static void fill_in(struct buf *out, const char *text, const char *project) {
    must(text && project);
    struct str rest = str_of(text), mark = STR("@PROJECT@");
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

/* A folder, or a file that is not there yet. */
static enum status make_one(const struct host *host, const char *dir, const struct config_scaffold_file *file, const char *project, struct err *err) {
    must(file->path);
    AUTO_FREE char *path = mem_printf("%s/%s", dir, file->path);
    if (!file->text) {
        path[strlen(path) - 1] = '\0';
        return host->fs->mkdir(host->fs->self, path, err);
    }
    if (fs_exists(host->fs, path)) return OK;
    BUF_SCOPE(text);
    fill_in(&text, file->text, project);
    return fs_write_atomic(host->fs, path, buf_view(&text), err);
}

enum status config_init(const struct host *host, const char *dir, const char *template_name, struct err *err) {
    must(host && dir && template_name);
    const struct config_scaffold_file *files = NULL;
    size_t n = 0;
    enum status status = config_scaffold(template_name, &files, &n, err);
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
