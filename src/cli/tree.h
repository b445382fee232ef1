/* JSON trees of answers (jansson), beside our own writer: both know a json_null, of which jansson's is not needed here. */
#ifndef CUPEL_CLI_TREE_H
#define CUPEL_CLI_TREE_H

#define json_null jansson_null_not_used
#include <jansson.h>
#undef json_null

#endif
