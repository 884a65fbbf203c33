/* Everything may be missing or of another kind: then it reads as nothing, and the caller says what
 * it lacks. */

#include "aggregator/json_body.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct config_node *json_body_find(const struct config_node *body, const char *key)
{
	return body && config_node_kind(body) == CONFIG_MAP ? config_node_find(body, key) : NULL;
}

const char *json_body_text(const struct config_node *body, const char *key)
{
	const struct config_node *node = json_body_find(body, key);
	const char *text = node ? config_node_text(node) : NULL;
	return text ? text : "";
}

uint64_t json_body_u64(const struct config_node *body, const char *key, uint64_t fallback)
{
	const char *text = json_body_text(body, key);
	char *end;
	if (*text < '0' || *text > '9')
		return fallback;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	return errno || *end ? fallback : value;
}

bool json_body_flag(const struct config_node *body, const char *key)
{
	return strcmp(json_body_text(body, key), "true") == 0;
}

uint32_t json_body_count(const struct config_node *list)
{
	return list && config_node_kind(list) == CONFIG_LIST ? config_node_count(list) : 0;
}
