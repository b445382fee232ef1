/* Wires the program: commands, and the kinds of row sources that the engine child knows. Nothing includes this file. */
#include "cli/cli.h"
#include "connect/landing.h"

int main(int argc, char **argv) {
    static const struct row_source_kind *const kinds[] = {&landing_row_source, &landing_bad_row_source, NULL};
    return cli_main(argc, argv, kinds);
}
