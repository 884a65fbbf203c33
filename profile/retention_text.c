/*
 * Reading policies and holds. Every mistake is said with file, line, policy and key, and what to
 * write instead: a policy that is silently not what was meant deletes, or does not.
 */

#include "profile/retention.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/options.h"
#include "profile/retention_private.h"

int retention_refuse(const struct retention_reading *reading, const struct config_node *node,
        const char *key, const char *format, ...)
{
	char words[512];
	va_list arguments;
	va_start(arguments, format);
	/* The analyzer loses sight of va_start().
	 * NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	char of[RETENTION_TEXT_BYTES_MAX] = "";
	if (reading->noun && reading->name)
		snprintf(of, sizeof(of), "%s \"%s\": ", reading->noun, reading->name);
	else if (reading->noun)
		snprintf(of, sizeof(of), "%s: ", reading->noun);
	snprintf(reading->error, reading->error_bytes, "%s:%u: %s%s%s%s", reading->file,
	        node ? config_node_line(node) : 1, of, key ? key : "", key ? ": " : "", words);
	return -EINVAL;
}

bool retention_name_is_valid(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "0123456789-_.";
	size_t count = strlen(name);
	return count > 0 && count <= RETENTION_NAME_BYTES_MAX && strspn(name, letters) == count;
}

int retention_read_selector(const char *text, struct selector **ret_selector, char **ret_text,
        char *ret_error, size_t error_bytes)
{
	AUTO(selector) selector = NULL;
	AUTO_BUF printed = { 0 };
	int r = selector_parse(text, &selector, ret_error, error_bytes);
	if (r == 0)
		r = selector_check_possible(selector, ret_error, error_bytes);
	if (r < 0)
		return r;
	selector_print(selector, &printed);
	buf_put_u8(&printed, 0);
	/* It must be readable again. */
	if (printed.count > SELECTOR_BYTES_MAX) {
		snprintf(ret_error, error_bytes, "longer than %d bytes in its normal form",
		        SELECTOR_BYTES_MAX);
		return -EINVAL;
	}
	size_t bytes;
	char *normal = (char *)buf_take(&printed, &bytes);
	if (!normal)
		return -ENOMEM;
	*ret_text = normal;
	*ret_selector = TAKE(selector);
	return 0;
}

int retention_read_text(const struct retention_reading *reading, const struct config_node *map,
        const char *key, size_t bytes_max, const char **ret_text)
{
	const struct config_node *node = config_node_find(map, key);
	if (!node)
		return 0;
	const char *text = config_node_text(node);
	if (!text)
		return retention_refuse(reading, node, key,
		        config_node_kind(node) == CONFIG_NULL
		                ? "has no value (nothing, ~ and null are none to YAML); write one, "
		                  "or take the line out"
		                : "write plain text here");
	if (strlen(text) > bytes_max)
		return retention_refuse(
		        reading, node, key, "longer than %zu bytes; write less", bytes_max);
	*ret_text = text;
	return 0;
}

static int retention_read_number(const struct retention_reading *reading,
        const struct config_node *map, const char *key, uint64_t max, uint64_t *number)
{
	const char *text = NULL;
	int r = retention_read_text(reading, map, key, 32, &text);
	if (r < 0 || !text)
		return r;
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > max)
		return retention_refuse(reading, config_node_find(map, key), key,
		        "\"%s\" is no whole number from 0 to %llu", text, (unsigned long long)max);
	*number = value;
	return 0;
}

int retention_refuse_unknown(const struct retention_reading *reading, const struct config_node *map,
        const char *const *known)
{
	for (uint32_t i = 0; i < config_node_count(map); i++) {
		const char *key = config_node_key(map, i);
		bool found = false;
		for (const char *const *at = known; *at && !found; at++)
			found = strcmp(*at, key) == 0;
		if (found)
			continue;
		const char *nearest = option_nearest(key, known);
		return retention_refuse(reading, config_node_item(map, i), NULL,
		        nearest ? "%.64s: no such key; did you mean %s?"
		                : "%.64s: no such key; `profleet help %s` names them",
		        key, nearest ? nearest : reading->help);
	}
	return 0;
}

/* ---- policies ---- */

static int retention_read_tiers(const struct retention_reading *reading,
        const struct config_node *map, struct retention_tiers *ret_tiers)
{
	static const char *const known[] = { "detail", "10m", "1h", "1d", NULL };
	const struct config_node *tiers = config_node_find(map, "tiers");
	for (int tier = 0; tier < RETENTION_TIERS; tier++)
		ret_tiers->keep_ns[tier] = RETENTION_FOREVER;
	if (!tiers)
		return retention_refuse(reading, map, "tiers",
		        "is missing; write tiers: { detail: 7d, 10m: 30d, 1h: 400d, 1d: forever }");
	if (config_node_kind(tiers) != CONFIG_MAP)
		return retention_refuse(reading, tiers, "tiers",
		        "write a mapping: { detail: 7d, 10m: 30d, 1h: 400d, 1d: forever }");
	int r = retention_refuse_unknown(reading, tiers, known);

	for (int tier = 0; tier < RETENTION_TIERS && r == 0; tier++) {
		const char *text = NULL;
		r = retention_read_text(reading, tiers, known[tier], 64, &text);
		if (r == 0 && text && retention_parse_keep(text, &ret_tiers->keep_ns[tier]) < 0)
			r = retention_refuse(reading, config_node_find(tiers, known[tier]),
			        known[tier],
			        "\"%s\" is no duration; write 12h, 7d, forever, or 0 for not kept",
			        text);
	}
	char error[256];
	if (r == 0 && retention_check_tiers(ret_tiers, error, sizeof(error)) < 0)
		r = retention_refuse(reading, tiers, "tiers", "%s", error);
	return r;
}

/* `type: cpu` beside the selector is the same as cpu before its brace. */
static int retention_add_type(const struct retention_reading *reading,
        const struct config_node *node, const char *type, struct retention_policy *policy)
{
	const char *named = selector_type(policy->selector);
	if (named && strcmp(named, type) != 0)
		return retention_refuse(reading, node, "type",
		        "%.64s, but the selector is of %.64s, so that nothing can match; leave one "
		        "of them out",
		        type, named);
	if (named)
		return 0;
	char error[256], text[SELECTOR_BYTES_MAX + 128];
	snprintf(text, sizeof(text), "%s%s", type, policy->selector_text);
	AUTO(selector) selector = NULL;
	autofree char *normal = NULL;
	int r = retention_read_selector(text, &selector, &normal, error, sizeof(error));
	if (r == -EINVAL)
		return retention_refuse(reading, node, "type",
		        "\"%.64s\" is no bare name; write it in the selector, as in "
		        "{\"the type\",service=\"cart\"}",
		        type);
	if (r < 0)
		return r;
	selector_free(policy->selector);
	free(policy->selector_text);
	policy->selector = TAKE(selector);
	policy->selector_text = TAKE(normal);
	return 0;
}

static int retention_read_policy_selector(const struct retention_reading *reading,
        const struct config_node *map, struct retention_policy *policy)
{
	const char *text = NULL, *type = NULL;
	char error[512];
	int r = retention_read_text(reading, map, "selector", SELECTOR_BYTES_MAX, &text);
	if (r == 0)
		r = retention_read_text(reading, map, "type", 100, &type);
	if (r < 0)
		return r;
	const struct config_node *node = config_node_find(map, "selector");
	if (!text || !*text)
		return retention_refuse(reading, node ? node : map, "selector",
		        "is missing; write {} for everything, or such as cpu{service=\"cart\"}");
	r = retention_read_selector(
	        text, &policy->selector, &policy->selector_text, error, sizeof(error));
	if (r == -EINVAL)
		return retention_refuse(reading, node, "selector", "%s", error);
	if (r == 0 && type && *type)
		r = retention_add_type(reading, config_node_find(map, "type"), type, policy);
	return r;
}

static int retention_read_author(const struct retention_reading *reading,
        const struct config_node *map, char **ret_created_by, char **ret_reason,
        uint64_t *ret_created_ns)
{
	const char *created_by = "", *reason = "";
	int r = retention_read_text(
	        reading, map, "created_by", RETENTION_TEXT_BYTES_MAX, &created_by);
	if (r == 0)
		r = retention_read_text(reading, map, "reason", RETENTION_TEXT_BYTES_MAX, &reason);
	if (r == 0)
		r = retention_read_number(reading, map, "created_ns", UINT64_MAX, ret_created_ns);
	if (r < 0)
		return r;
	*ret_created_by = strdup(created_by);
	*ret_reason = strdup(reason);
	return *ret_created_by && *ret_reason ? 0 : -ENOMEM;
}

/* The name first, so that every later complaint has it. */
static int retention_read_name(struct retention_reading *reading, const struct config_node *map,
        const char *key, char ret_name[RETENTION_NAME_BYTES_MAX + 1])
{
	const char *name = NULL;
	if (config_node_kind(map) != CONFIG_MAP)
		return retention_refuse(reading, map, NULL,
		        "is no mapping; write %s: NAME and the other keys below it", key);
	int r = retention_read_text(reading, map, key, 256, &name);
	if (r < 0)
		return r;
	if (!name)
		return retention_refuse(reading, map, key, "is missing; write %s: NAME", key);
	if (!retention_name_is_valid(name))
		return retention_refuse(reading, config_node_find(map, key), key,
		        "\"%.64s\" is none; write 1 to %d letters, digits, - _ or .", name,
		        RETENTION_NAME_BYTES_MAX);
	snprintf(ret_name, RETENTION_NAME_BYTES_MAX + 1, "%s", name);
	reading->name = ret_name;
	return 0;
}

static int retention_read_policy(struct retention_reading *reading, const struct config_node *map,
        struct retention_policy *policy)
{
	static const char *const known[] = { "name", "selector", "type", "priority", "tiers",
		"created_by", "created_ns", "reason", NULL };
	uint64_t priority = 0;
	reading->name = NULL;
	int r = retention_read_name(reading, map, "name", policy->name);
	if (r == 0)
		r = retention_refuse_unknown(reading, map, known);
	if (r == 0)
		r = retention_read_policy_selector(reading, map, policy);
	if (r == 0)
		r = retention_read_number(
		        reading, map, "priority", RETENTION_PRIORITY_MAX, &priority);
	if (r == 0)
		r = retention_read_tiers(reading, map, &policy->tiers);
	if (r == 0)
		r = retention_read_author(
		        reading, map, &policy->created_by, &policy->reason, &policy->created_ns);
	policy->priority = (uint32_t)priority;
	return r;
}

/* The list under `key`, or the root alone where that is one item. */
static int retention_list(const struct retention_reading *reading, const struct config_node *root,
        const char *key, uint32_t max, const struct config_node **ret_list)
{
	const char *const known[] = { key, NULL };
	const struct config_node *list = config_node_kind(root) == CONFIG_MAP
	                                         ? config_node_find(root, key)
	                                         : NULL;
	if (!list)
		return retention_refuse(reading, root, NULL, "expected \"%s:\" with a list", key);
	int r = retention_refuse_unknown(reading, root, known);
	if (r < 0)
		return r;
	/* `policies:` with nothing behind it is an empty list. */
	if (config_node_kind(list) == CONFIG_NULL) {
		*ret_list = NULL;
		return 0;
	}
	if (config_node_kind(list) != CONFIG_LIST)
		return retention_refuse(reading, list, NULL,
		        "\"%s:\" is no list; begin every %s with \"- \"", key, reading->noun);
	if (config_node_count(list) > max)
		return retention_refuse(
		        reading, list, NULL, "more than %u; %u are taken", max, max);
	*ret_list = list;
	return 0;
}

static int retention_read_set(struct retention_reading *reading, const struct config_node *root,
        struct retention_set *set)
{
	const struct config_node *list = root;
	bool is_alone = config_node_kind(root) == CONFIG_MAP && config_node_find(root, "name");
	int r = is_alone ? 0
	                 : retention_list(reading, root, "policies", RETENTION_POLICIES_MAX, &list);
	uint32_t count = is_alone ? 1 : r == 0 && list ? config_node_count(list) : 0, twice;
	if (r < 0 || count == 0)
		return r;

	set->policies = calloc(count, sizeof(*set->policies));
	if (!set->policies)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && r == 0; i++) {
		const struct config_node *map = is_alone ? root : config_node_item(list, i);
		r = retention_read_policy(reading, map, &set->policies[set->count++]);
	}
	if (r == 0 && retention_set_settle(set, &twice) < 0) {
		reading->name = set->policies[twice].name;
		r = retention_refuse(
		        reading, list, "name", "two policies are called so; rename or remove one");
	}
	return r;
}

/* The root of the text, which is borrowed from the config. */
static int retention_open(struct retention_reading *reading, const char *text, size_t count,
        struct config **ret_config, const struct config_node **ret_root)
{
	reading->help = "retention";
	int r = config_parse(
	        reading->file, text, count, ret_config, reading->error, reading->error_bytes);
	if (r < 0)
		return r;
	const struct config_node *root = config_root(*ret_config);
	if (!root)
		return retention_refuse(reading, NULL, NULL, "the file is empty");
	*ret_root = root;
	return 0;
}

int retention_parse(const char *file, const char *text, size_t count,
        struct retention_set **ret_set, char *ret_error, size_t error_bytes)
{
	struct retention_reading reading = {
		.file = file, .noun = "policy", .error = ret_error, .error_bytes = error_bytes
	};
	AUTO(config) config = NULL;
	AUTO(retention_set) set = retention_set_new();
	const struct config_node *root = NULL;
	if (!set)
		return -ENOMEM;
	int r = retention_open(&reading, text, count, &config, &root);
	if (r < 0)
		return r;
	r = retention_read_set(&reading, root, set);
	if (r < 0)
		return r;
	*ret_set = TAKE(set);
	return 0;
}

/* ---- holds ---- */

static int retention_read_hold(struct retention_reading *reading, const struct config_node *map,
        struct retention_holds *holds)
{
	static const char *const known[] = { "id", "selector", "from_ns", "to_ns", "until_ns",
		"created_by", "created_ns", "reason", NULL };
	struct retention_hold hold = { .to_ns = RETENTION_FOREVER, .until_ns = RETENTION_FOREVER };
	autofree char *created_by = NULL, *reason = NULL;
	const char *selector = "{}";
	char error[512];
	reading->name = NULL;
	int r = retention_read_name(reading, map, "id", hold.id);
	if (r == 0)
		r = retention_refuse_unknown(reading, map, known);
	if (r == 0)
		r = retention_read_text(reading, map, "selector", SELECTOR_BYTES_MAX, &selector);
	if (r == 0)
		r = retention_read_number(reading, map, "from_ns", UINT64_MAX, &hold.from_ns);
	if (r == 0)
		r = retention_read_number(reading, map, "to_ns", UINT64_MAX, &hold.to_ns);
	if (r == 0)
		r = retention_read_number(reading, map, "until_ns", UINT64_MAX, &hold.until_ns);
	if (r == 0)
		r = retention_read_author(reading, map, &created_by, &reason, &hold.created_ns);
	if (r < 0)
		return r;
	hold.created_by = created_by;
	hold.reason = reason;
	r = retention_hold_add(holds, &hold, selector, error, sizeof(error));
	return r < 0 && r != -ENOMEM ? retention_refuse(reading, map, NULL, "%s", error) : r;
}

int retention_holds_parse(const char *file, const char *text, size_t count,
        struct retention_holds **ret_holds, char *ret_error, size_t error_bytes)
{
	struct retention_reading reading = {
		.file = file, .noun = "hold", .error = ret_error, .error_bytes = error_bytes
	};
	AUTO(config) config = NULL;
	AUTO(retention_holds) holds = retention_holds_new();
	const struct config_node *list = NULL;
	const struct config_node *root = NULL;
	if (!holds)
		return -ENOMEM;
	int r = retention_open(&reading, text, count, &config, &root);
	if (r < 0)
		return r;
	r = retention_list(&reading, root, "holds", RETENTION_HOLDS_MAX, &list);
	for (uint32_t i = 0; r == 0 && list && i < config_node_count(list); i++)
		r = retention_read_hold(&reading, config_node_item(list, i), holds);
	if (r < 0)
		return r;
	*ret_holds = TAKE(holds);
	return 0;
}
