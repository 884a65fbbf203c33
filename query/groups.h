#pragma once

/*
 * groups is what --by makes of a side: the values of the labels that were asked for, each with its
 * part of the side, the greatest first.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/json.h"
#include "query/source.h"

/* `words` as --by has them, into a request: up to four names of labels with commas between. An exit
 * code after complaining. The request borrows the words. */
int groups_request(const char *words, bool is_file, struct source_request *request);

struct group {
	uint32_t series; /* of the side's dict, whose labels are the group's */
	uint64_t value;
	uint64_t coverage_ns;
};

struct groups {
	struct group *items;
	uint32_t count;
	bool *chosen; /* as of a source_side: room to choose one group */
};

/* 0, or an exit code after complaining. */
int groups_make(const struct source *source, struct groups *ret_groups);
void groups_fini(struct groups *groups);
#define AUTO_GROUPS __attribute__((cleanup(groups_fini))) struct groups

/* A copy of the source whose side has nothing but one group. Good as long as both are. */
struct source groups_only(const struct source *source, struct groups *groups, uint32_t index);

/* region="eu",zone="" in the order of --by; safe for a terminal. */
void groups_put_name(const struct source_request *request, const struct source *source,
        const struct group *group, struct buf *to);

/* {"region":"eu","zone":""} */
void groups_json_labels(const struct source_request *request, const struct source *source,
        const struct group *group, struct json_writer *json);

/* "2 of 4 groups shown, ..." */
void groups_put_cut(const struct groups *groups, uint32_t shown, uint64_t value_hidden,
        const struct source *source, struct buf *to);

/* The value of a label of the group, "" where it has none. */
const char *groups_label(
        const struct source *source, const struct group *group, struct wire_text name);
