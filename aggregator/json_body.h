#pragma once

/*
 * json_body reads the JSON of administration: bodies of requests and documents in the store. JSON
 * is YAML, so core/config reads it, with all its bounds. A key that is not there reads as nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"

/* NULL where it is not there. */
const struct config_node *json_body_find(const struct config_node *body, const char *key);
const char *json_body_text(const struct config_node *body, const char *key); /* "" */
uint64_t json_body_u64(const struct config_node *body, const char *key, uint64_t fallback);
bool json_body_flag(const struct config_node *body, const char *key);
/* Items of a list; 0 where there is none. */
uint32_t json_body_count(const struct config_node *list);
