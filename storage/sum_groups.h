#pragma once

/*
 * sum_groups says which group of a sum block a series belongs to, by its labels. Writers and
 * readers ask the same question, so that a reader knows whose values a group holds.
 */

#include <stdint.h>

#include "profile/dict.h"
#include "storage/sum_block.h"

#define SUM_GROUPS_BUCKETS 16

/* Names of labels as strings of a dict; ID_NONE where it does not have them. */
struct sum_labels {
	uint32_t service;
	uint32_t instance;
	uint32_t version;
	uint32_t region;
	uint32_t recorded;
	uint32_t yes; /* "true" */
};

struct sum_labels sum_labels_find(const struct dict *dict);

uint32_t sum_labels_service(
        const struct sum_labels *labels, const struct dict *dict, uint32_t series);
uint32_t sum_labels_instance(
        const struct sum_labels *labels, const struct dict *dict, uint32_t series);
struct sum_group_key sum_labels_group(
        const struct sum_labels *labels, const struct dict *dict, uint32_t series);
