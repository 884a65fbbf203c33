#pragma once

/*
 * config is a YAML file as a tree: the one door to libyaml. Knows nothing of what keys mean; that
 * is core/options.
 *
 * Bounded: depth, nodes and file size have limits; aliases are refused (a small file could
 * otherwise unfold into a big one); duplicate keys are errors.
 */

#include <stddef.h>
#include <stdint.h>

#include "core/auto.h"

/* NULL: nothing behind the colon, ~ or null, unless in quotes: no text, so that it is nobody's
 * value. */
enum config_kind { CONFIG_SCALAR = 1, CONFIG_LIST, CONFIG_MAP, CONFIG_NULL };

struct config;
struct config_node;

/* -EINVAL with "PATH:LINE: ..."; -ENOENT, -EACCES, -EFBIG, -ENOMEM. */
int config_load(const char *path, struct config **ret_config, char *ret_error, size_t error_bytes);
int config_parse(const char *name, const char *text, size_t count, struct config **ret_config,
        char *ret_error, size_t error_bytes);
void config_free(struct config *config);
DEFINE_AUTO(config);

/* NULL for an empty file. Nodes are borrowed from the config. */
const struct config_node *config_root(const struct config *config);

enum config_kind config_node_kind(const struct config_node *node);
uint32_t config_node_line(const struct config_node *node);    /* from 1 */
const char *config_node_text(const struct config_node *node); /* of a scalar, else NULL */
uint32_t config_node_count(const struct config_node *node);   /* items or pairs */
const struct config_node *config_node_item(const struct config_node *node, uint32_t index);
const char *config_node_key(const struct config_node *node, uint32_t index);
const struct config_node *config_node_find(
        const struct config_node *node, const char *key); /* or NULL */
