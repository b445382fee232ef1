/* Selections of models: "silver.pos_sales", "pos_sales" (when there is one of that name), "marketing.*", "tag:web", "*"; `+` in front adds all that they read,
 * `+` behind all that read them. */
#ifndef CUPEL_FLOW_SELECT_H
#define CUPEL_FLOW_SELECT_H

#include "flow/flow.h"

/* Names in the order of `models` (topological), each once; n 0 selects all. E_NOT_FOUND names the selection that fits nothing, and what is near it. */
enum status flow_select(const struct flow_model *const *models, size_t models_n, const char *const *selectors, size_t selectors_n, struct arena *arena,
    const char *const **out, size_t *n, struct err *err);

#endif
