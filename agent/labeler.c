/*
 * The labels of one process are gathered in a small table of fixed slots, in which a name appears
 * once, and then interned. Nothing is remembered between processes: a host has a few hundred, asked
 * for once per interval.
 */

#include "agent/labeler.h"

#include <assert.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

#define LABELER_RULES_MAX    1000
#define LABELER_GROUPS_MAX   10
#define LABELER_NAME_MAX     64
#define LABELER_INSTANCE_HEX 12

static_assert(
        LABEL_VALUE_BYTES_MAX >= sizeof(UTF8_REPLACEMENT), "a value holds at least one character");

struct labeler_value {
	char text[LABEL_VALUE_BYTES_MAX + 1];
};

struct labeler_slot {
	const char *name; /* borrowed from the options, or static */
	size_t name_count;
	struct labeler_value value;
};

struct labeler_slots {
	struct labeler_slot slots[DICT_LABELS_MAX];
	uint32_t count;
};

struct labeler_rule {
	regex_t regex;
	bool compiled;
};

struct labeler {
	struct labeler_options options;
	struct labeler_rule *rules; /* relabel_count */
};

static bool labeler_name_is_valid(const char *name, size_t count)
{
	if (count == 0 || count > LABELER_NAME_MAX)
		return false;
	for (size_t i = 0; i < count; i++) {
		char c = name[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';

		if (!letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return true;
}

/* Copies whole harmless characters until the value is full. */
static void labeler_clean(struct labeler_value *ret_value, const char *bytes, size_t count)
{
	size_t kept = 0;

	for (size_t at = 0; at < count;) {
		uint32_t code;
		const char *from = bytes + at;
		size_t length = utf8_decode((const uint8_t *)from, count - at, &code);
		size_t step = length ? length : 1;

		if (length == 0 || !utf8_is_harmless(code)) {
			from = UTF8_REPLACEMENT;
			length = strlen(UTF8_REPLACEMENT);
		}
		if (length > LABEL_VALUE_BYTES_MAX - kept)
			break;
		memcpy(ret_value->text + kept, from, length);
		kept += length;
		at += step;
	}
	ret_value->text[kept] = 0;
}

static struct labeler_slot *labeler_find(
        struct labeler_slots *slots, const char *name, size_t count)
{
	for (uint32_t i = 0; i < slots->count; i++) {
		struct labeler_slot *slot = &slots->slots[i];

		if (slot->name_count == count && !memcmp(slot->name, name, count))
			return slot;
	}
	return NULL;
}

/* An empty value removes the label: absent and empty are the same. */
static void labeler_set(struct labeler_slots *slots, const char *name, size_t name_count,
        const char *bytes, size_t count)
{
	struct labeler_slot *slot = labeler_find(slots, name, name_count);

	if (count == 0) {
		if (slot)
			*slot = slots->slots[--slots->count];
		return;
	}
	if (!slot) {
		/* labeler_new() has counted how many names there can be. */
		assert(slots->count < DICT_LABELS_MAX);
		slot = &slots->slots[slots->count++];
		slot->name = name;
		slot->name_count = name_count;
	}
	labeler_clean(&slot->value, bytes, count);
}

static void labeler_set_text(struct labeler_slots *slots, const char *name, const char *text)
{
	labeler_set(slots, name, strlen(name), text, strlen(text));
}

/* The value of a variable, or NULL. */
static const char *labeler_variable(
        const struct process_facts *facts, const char *name, size_t *ret_count)
{
	size_t name_count = strlen(name);
	const char *at = facts->environ;
	const char *end = at ? at + facts->environ_bytes : NULL;

	while (at < end) {
		const char *stop = memchr(at, 0, (size_t)(end - at));
		size_t count = (size_t)((stop ? stop : end) - at);

		if (count > name_count && at[name_count] == '=' && !memcmp(at, name, name_count)) {
			*ret_count = count - name_count - 1;
			return at + name_count + 1;
		}
		at += count + 1;
	}
	return NULL;
}

static void labeler_set_first_variable(struct labeler_slots *slots,
        const struct process_facts *facts, const char *label, const struct option_list *names)
{
	for (uint32_t i = 0; i < names->count; i++) {
		size_t count;
		const char *value = labeler_variable(facts, names->items[i], &count);

		if (value && count > 0) {
			labeler_set(slots, label, strlen(label), value, count);
			return;
		}
	}
}

static bool labeler_is_kernel_thread(const struct process_facts *facts)
{
	return facts->group == 0 && facts->exe[0] == 0;
}

/* The service that a unit stands for, or 0 bytes. */
static size_t labeler_unit_service_bytes(const char *unit)
{
	static const char *const not_services[] = { "user@", "user-runtime-dir@", "run-" };
	static const char suffix[] = ".service";
	size_t count = strlen(unit);

	if (count < sizeof(suffix) || strcmp(unit + count - (sizeof(suffix) - 1), suffix))
		return 0;
	for (size_t i = 0; i < COUNT_OF(not_services); i++) {
		if (!strncmp(unit, not_services[i], strlen(not_services[i])))
			return 0;
	}
	return count - (sizeof(suffix) - 1);
}

static void labeler_set_service(struct labeler_slots *slots, const struct process_facts *facts,
        const struct cgroup_names *names)
{
	size_t unit_bytes = labeler_unit_service_bytes(names->unit);

	if (names->container_name[0])
		labeler_set_text(slots, "service", names->container_name);
	else if (unit_bytes > 0)
		labeler_set(slots, "service", strlen("service"), names->unit, unit_bytes);
	else if (labeler_is_kernel_thread(facts))
		labeler_set_text(slots, "service", "kernel");
	else
		labeler_set_text(slots, "service", facts->comm[0] ? facts->comm : "unknown");
}

static void labeler_set_instance(const struct labeler *labeler, struct labeler_slots *slots,
        const struct process_facts *facts, const struct cgroup_names *names)
{
	char text[sizeof(labeler->options.host) + 48];

	if (names->container_id[0])
		snprintf(text, sizeof(text), "%.*s", LABELER_INSTANCE_HEX, names->container_id);
	else if (labeler_is_kernel_thread(facts))
		snprintf(text, sizeof(text), "%s:kernel", labeler->options.host);
	else
		snprintf(text, sizeof(text), "%.90s:%d-%llu", labeler->options.host, facts->group,
		        (unsigned long long)facts->group_start_ticks);
	labeler_set_text(slots, "instance", text);
}

static void labeler_set_known(const struct labeler *labeler, struct labeler_slots *slots,
        const struct process_facts *facts)
{
	struct cgroup_names names;

	cgroup_path_parse(facts->cgroup, &names);
	labeler_set_text(slots, "host", labeler->options.host);
	labeler_set_text(slots, "comm", facts->comm);
	labeler_set_text(slots, "exe", facts->exe);
	labeler_set_text(slots, "cgroup", names.leaf);
	labeler_set_text(slots, "container",
	        names.container_id[0] ? names.container_id : names.container_name);
	labeler_set_text(slots, "container_runtime", names.container_runtime);
	labeler_set_text(slots, "pod_uid", names.pod_uid);
	labeler_set_text(slots, "unit", names.unit);
	labeler_set_service(slots, facts, &names);
	labeler_set_instance(labeler, slots, facts, &names);
}

static void labeler_set_environ(const struct labeler *labeler, struct labeler_slots *slots,
        const struct process_facts *facts)
{
	const struct labeler_options *options = &labeler->options;

	for (uint32_t i = 0; i < options->environ_labels.count; i++) {
		const char *item = options->environ_labels.items[i];
		const char *equals = strchr(item, '=');
		size_t count;
		const char *value = labeler_variable(facts, equals + 1, &count);

		if (value && count > 0)
			labeler_set(slots, item, (size_t)(equals - item), value, count);
	}
	labeler_set_first_variable(slots, facts, "version", &options->environ_version);
	labeler_set_first_variable(slots, facts, "service", &options->environ_service);
}

/* The rule's value with \1..\9 replaced; longer than a label can be is cut there. */
static size_t labeler_expand(const char *pattern, const char *matched, const regmatch_t *groups,
        char *to, size_t to_bytes)
{
	size_t count = 0;

	for (const char *at = pattern; *at; at++) {
		const char *from = at;
		size_t bytes = 1;

		if (at[0] == '\\' && at[1] >= '1' && at[1] <= '9') {
			const regmatch_t *group = &groups[at[1] - '0' + 1];

			from = group->rm_so >= 0 ? matched + group->rm_so : "";
			bytes = group->rm_so >= 0 ? (size_t)(group->rm_eo - group->rm_so) : 0;
			at++;
		} else if (at[0] == '\\' && at[1] == '\\') {
			at++;
		}
		if (bytes > to_bytes - count)
			bytes = to_bytes - count;
		memcpy(to + count, from, bytes);
		count += bytes;
	}
	return count;
}

static void labeler_relabel(const struct labeler *labeler, struct labeler_slots *slots)
{
	for (uint32_t i = 0; i < labeler->options.relabel_count; i++) {
		const struct relabel_rule *rule = &labeler->options.relabel[i];
		struct labeler_slot *source = labeler_find(
		        slots, rule->source, strlen(rule->source));
		regmatch_t groups[LABELER_GROUPS_MAX + 1];
		char text[4 * LABEL_VALUE_BYTES_MAX];
		size_t count;

		/* An absent label is an empty one, and a rule may well ask for that. */
		const char *value = source ? source->value.text : "";
		if (regexec(&labeler->rules[i].regex, value, COUNT_OF(groups), groups, 0) != 0)
			continue;
		if (rule->target[0] == 0) {
			labeler_set_text(slots, rule->source, "");
			continue;
		}
		count = labeler_expand(rule->value, value, groups, text, sizeof(text));
		labeler_set(slots, rule->target, strlen(rule->target), text, count);
	}
}

/* Rows are kept apart and spread by these, so they outlive any rule. */
static void labeler_restore(struct labeler_slots *slots, const struct labeler_slots *before)
{
	static const char *const kept[] = { "host", "service", "instance" };

	for (size_t i = 0; i < COUNT_OF(kept); i++) {
		for (uint32_t j = 0; j < before->count; j++) {
			const struct labeler_slot *slot = &before->slots[j];

			if (slot->name_count != strlen(kept[i]) ||
			        memcmp(slot->name, kept[i], slot->name_count))
				continue;
			if (!labeler_find(slots, kept[i], strlen(kept[i])) &&
			        slots->count < DICT_LABELS_MAX)
				slots->slots[slots->count++] = *slot;
		}
	}
}

static int labeler_intern(const struct labeler_slots *slots, const char *type, const char *unit,
        uint64_t period, struct dict *dict, uint32_t *ret_series)
{
	struct series series = { .period = period, .labels_count = slots->count };
	struct label labels[DICT_LABELS_MAX];
	int result = dict_cstring(dict, type, &series.type);

	if (result == 0)
		result = dict_cstring(dict, unit, &series.unit);
	for (uint32_t i = 0; result == 0 && i < slots->count; i++) {
		const struct labeler_slot *slot = &slots->slots[i];

		result = dict_string(dict, slot->name, slot->name_count, &labels[i].name);
		if (result == 0)
			result = dict_cstring(dict, slot->value.text, &labels[i].value);
	}
	if (result == 0)
		result = dict_series(dict, &series, labels, slots->count, ret_series);
	return result;
}

int labeler_series(struct labeler *labeler, const struct process_facts *facts, const char *type,
        const char *unit, uint64_t period, struct dict *dict, uint32_t *ret_series)
{
	struct labeler_slots slots;
	struct labeler_slots before;

	slots.count = 0;
	labeler_set_known(labeler, &slots, facts);
	labeler_set_environ(labeler, &slots, facts);
	for (uint32_t i = 0; i < labeler->options.labels.count; i++) {
		const char *item = labeler->options.labels.items[i];
		const char *equals = strchr(item, '=');

		labeler_set(&slots, item, (size_t)(equals - item), equals + 1, strlen(equals + 1));
	}
	if (labeler->options.relabel_count > 0) {
		before = slots;
		labeler_relabel(labeler, &slots);
		labeler_restore(&slots, &before);
	}
	return labeler_intern(&slots, type, unit, period, dict, ret_series);
}

bool labeler_wants_environ(const struct labeler *labeler)
{
	const struct labeler_options *options = &labeler->options;

	return options->environ_service.count > 0 || options->environ_version.count > 0 ||
	       options->environ_labels.count > 0;
}

/* "label=VARIABLE" or "label=value". */
int labeler_check_pairs(const struct option_list *list, char *ret_error, size_t error_bytes)
{
	for (uint32_t i = 0; i < list->count; i++) {
		const char *item = list->items[i];
		const char *equals = strchr(item, '=');

		if (!equals || !labeler_name_is_valid(item, (size_t)(equals - item)) ||
		        equals[1] == 0) {
			snprintf(ret_error, error_bytes,
			        "'%s': write name=value; a name is letters, digits and _, at "
			        "most %d",
			        item, LABELER_NAME_MAX);
			return -EINVAL;
		}
	}
	return 0;
}

static int labeler_compile(struct labeler_rule *rule, const struct relabel_rule *from,
        char *ret_error, size_t error_bytes)
{
	static const char *const forms[] = { "source", "target" };
	const char *const names[] = { from->source, from->target };
	char reason[128];
	char *anchored;

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (i == 1 && names[i][0] == 0)
			continue;
		if (!labeler_name_is_valid(names[i], strlen(names[i]))) {
			snprintf(ret_error, error_bytes,
			        "%s: '%s': a label's name is letters, digits and _, at most %d",
			        forms[i], names[i], LABELER_NAME_MAX);
			return -EINVAL;
		}
	}
	if (asprintf(&anchored, "^(%s)$", from->match) < 0)
		return -ENOMEM;

	int status = regcomp(&rule->regex, anchored, REG_EXTENDED);
	free(anchored);
	if (status != 0) {
		regerror(status, &rule->regex, reason, sizeof(reason));
		snprintf(ret_error, error_bytes, "match: '%s': %s", from->match, reason);
		return -EINVAL;
	}
	rule->compiled = true;
	return 0;
}

int labeler_check_rule(const struct relabel_rule *rule, char *ret_error, size_t error_bytes)
{
	struct labeler_rule compiled = { 0 };
	int result = labeler_compile(&compiled, rule, ret_error, error_bytes);

	if (compiled.compiled)
		regfree(&compiled.regex);
	return result;
}

int labeler_new(struct labeler_options options, struct labeler **ret_labeler, char *ret_error,
        size_t error_bytes)
{
	char error[384] = "";
	/* host to instance are ten, version one; the rest is the operator's. */
	uint64_t names = 11 + (uint64_t)options.labels.count + options.environ_labels.count;
	int result = labeler_check_pairs(&options.labels, ret_error, error_bytes);

	if (result == 0)
		result = labeler_check_pairs(&options.environ_labels, ret_error, error_bytes);
	if (result < 0)
		return result;
	if (options.relabel_count > LABELER_RULES_MAX) {
		snprintf(ret_error, error_bytes, "%u relabel rules: at most %d",
		        options.relabel_count, LABELER_RULES_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < options.relabel_count; i++) {
		bool again = false;

		for (uint32_t j = 0; j < i; j++)
			again |= !strcmp(options.relabel[i].target, options.relabel[j].target);
		names += !again && options.relabel[i].target[0];
	}
	if (names > DICT_LABELS_MAX) {
		snprintf(ret_error, error_bytes,
		        "these rules can make %llu labels: a series has at most %d",
		        (unsigned long long)names, DICT_LABELS_MAX);
		return -EINVAL;
	}

	AUTO(labeler) labeler = calloc(1, sizeof(*labeler));
	if (!labeler)
		return -ENOMEM;
	labeler->options = options;
	labeler->rules = calloc(options.relabel_count + 1, sizeof(*labeler->rules));
	if (!labeler->rules)
		return -ENOMEM;
	if (!options.host[0])
		snprintf(labeler->options.host, sizeof(labeler->options.host), "localhost");
	for (uint32_t i = 0; i < options.relabel_count; i++) {
		result = labeler_compile(
		        &labeler->rules[i], &options.relabel[i], error, sizeof(error));
		if (result < 0) {
			snprintf(ret_error, error_bytes, "relabel rule %u: %s", i + 1, error);
			return result;
		}
	}

	*ret_labeler = TAKE(labeler);
	return 0;
}

void labeler_free(struct labeler *labeler)
{
	if (!labeler)
		return;
	for (uint32_t i = 0; labeler->rules && i < labeler->options.relabel_count; i++) {
		if (labeler->rules[i].compiled)
			regfree(&labeler->rules[i].regex);
	}
	free(labeler->rules);
	free(labeler);
}
