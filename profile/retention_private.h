#pragma once

/* What the two files of retention share: retention_text.c reads, retention.c does the rest. */

#include "profile/retention.h"

void retention_policy_fini(struct retention_policy *policy);
void retention_hold_fini(struct retention_hold *hold);

/* Sorts by name; -EEXIST with the index of the second of two that are called the same. */
int retention_set_settle(struct retention_set *set, uint32_t *ret_twice);

/* A selector and its normal form, possible ones only. -EINVAL with a message, -ENOMEM. */
int retention_read_selector(const char *text, struct selector **ret_selector, char **ret_text,
        char *ret_error, size_t error_bytes);

/* -EINVAL with a message: a coarser tier is shorter than a finer one. */
int retention_check_tiers(const struct retention_tiers *tiers, char *ret_error, size_t error_bytes);

bool retention_name_is_valid(const char *name);
