/*
 * A configuration file from anywhere: the tree is walked to its ends, each text in it is read as a
 * number, a duration and a time, and the whole is read as options of every kind.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

struct target {
	char *text;
	uint32_t number, choice, rules;
	uint64_t big, bytes, duration_ns;
	bool flag;
	struct option_list list;
	struct option_time time;
};

static const char *const choices[] = { "one", "two", NULL };

static int parse_rules(
        const struct config_node *node, void *member, char *ret_error, size_t error_bytes)
{
	*(uint32_t *)member = config_node_count(node);
	return 0;
}

#define MEMBER(member) .offset = offsetof(struct target, member)

static const struct option_spec specs[] = {
	{ .name = "text", .kind = OPTION_TEXT, MEMBER(text), .fallback = "t", .help = "t" },
	{ .name = "number",
	        .kind = OPTION_U32,
	        MEMBER(number),
	        .min = 1,
	        .max = 100,
	        .fallback = "7",
	        .help = "n" },
	{ .name = "big", .kind = OPTION_U64, MEMBER(big), .help = "b" },
	{ .name = "bytes", .kind = OPTION_BYTES, MEMBER(bytes), .help = "b" },
	{ .name = "duration", .kind = OPTION_DURATION, MEMBER(duration_ns), .help = "d" },
	{ .name = "choice", .kind = OPTION_ENUM, MEMBER(choice), .choices = choices, .help = "c" },
	{ .name = "list", .kind = OPTION_LIST, MEMBER(list), .help = "l" },
	{ .name = "flag", .kind = OPTION_FLAG, MEMBER(flag), .help = "f" },
	{ .name = "time", .kind = OPTION_TIME, MEMBER(time), .help = "t" },
	{ .name = "rules",
	        .kind = OPTION_CUSTOM,
	        MEMBER(rules),
	        .parse_yaml = parse_rules,
	        .help = "r" },
	{ 0 },
};

static const struct option_table table = { .program = "fuzz", .options = specs };

static void check_text(const char *text)
{
	char written[OPTION_NUMBER_BYTES_MAX];
	uint64_t value, again;
	if (option_parse_duration(text, &value) == 0) {
		int r = option_parse_duration(option_format_duration(value, written), &again);
		assert(r == 0 && again == value);
	}
	if (option_parse_bytes(text, &value) == 0) {
		int r = option_parse_bytes(option_format_bytes(value, written), &again);
		assert(r == 0 && again == value);
	}
	(void)option_parse_time(text, UINT64_C(1764064800) * NS_PER_S, &value);
}

static void walk(const struct config_node *node, uint32_t line_before)
{
	assert(config_node_line(node) >= 1);
	if (config_node_kind(node) == CONFIG_SCALAR) {
		assert(config_node_count(node) == 0);
		check_text(config_node_text(node));
		return;
	}
	assert(!config_node_text(node));
	for (uint32_t i = 0; i < config_node_count(node); i++) {
		const char *key = config_node_key(node, i);
		assert((key != NULL) == (config_node_kind(node) == CONFIG_MAP));
		if (key)
			assert(config_node_find(node, key) == config_node_item(node, i));
		walk(config_node_item(node, i), line_before);
	}
}

static void read_as_options(const uint8_t *bytes, size_t count)
{
	static int fd = -1;
	char path[64], error[512] = "";
	struct target target = { 0 };

	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, bytes, count, 0) != (ssize_t)count)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (options_init(&table, &target) < 0)
		return;
	int r = options_parse_file(&table, path, &target, false, error, sizeof(error));
	assert(r == 0 || *error);
	assert(target.number >= 1 && target.number <= 100 && target.choice < 2);
	options_fini(&table, &target);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	AUTO(config) config = NULL;
	char error[512] = "";
	int r = config_parse("f", (const char *)bytes, count, &config, error, sizeof(error));
	assert((r == 0) == (config != NULL));
	assert(r == 0 || *error);
	if (config && config_root(config))
		walk(config_root(config), 1);
	read_as_options(bytes, count);
	return 0;
}
