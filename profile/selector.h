#pragma once

/*
 * selector says which series a question is about: cpu{service="cart",version=~"1\\.9.*"}.
 *
 * The four PromQL matchers = != =~ !~ with PromQL's meaning: an absent label equals "", regular
 * expressions are anchored at both ends and are POSIX extended ones. The type may be left out
 * ({service="cart"}), and the braces too (cpu). A bare name is [a-zA-Z_][a-zA-Z0-9_.]*; any other
 * label name is written in double quotes. Pure: parses and matches, knows no store.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "profile/dict.h"

#define SELECTOR_MATCHERS_MAX 32
#define SELECTOR_BYTES_MAX    4096

enum matcher_op { MATCHER_EQUAL, MATCHER_NOT_EQUAL, MATCHER_REGEX, MATCHER_NOT_REGEX };

struct matcher;
struct selector;

/* -EINVAL with *ret_error: one line naming the place (byte offset) and the remedy. -ENOMEM. */
int selector_parse(
        const char *text, struct selector **ret_selector, char *ret_error, size_t error_bytes);
void selector_free(struct selector *selector);
DEFINE_AUTO(selector);

/* NULL when the selector names no type. */
const char *selector_type(const struct selector *selector);

uint32_t selector_matchers_count(const struct selector *selector);
const char *selector_matcher_name(const struct selector *selector, uint32_t index);
enum matcher_op selector_matcher_op(const struct selector *selector, uint32_t index);
const char *selector_matcher_value(const struct selector *selector, uint32_t index);

/* Would one matcher accept this value of its label? */
bool selector_matcher_accepts(const struct selector *selector, uint32_t index, const char *value);

/*
 * The name under which a matcher means the tenant, where one is at hand: tenants are no labels. A
 * label of that name cannot be matched there.
 */
#define SELECTOR_TENANT "tenant"

/* Type and all matchers. */
bool selector_matches(const struct selector *selector, const struct dict *dict, uint32_t series);

/* Which matcher is the first that refuses this series; or one of the two below. */
#define SELECTOR_MATCHES    UINT32_MAX
#define SELECTOR_WRONG_TYPE (UINT32_MAX - 1)
uint32_t selector_mismatch(
        const struct selector *selector, const struct dict *dict, uint32_t series);

/* The same two of a series of this tenant. */
bool selector_matches_of(const struct selector *selector, const char *tenant,
        const struct dict *dict, uint32_t series);
uint32_t selector_mismatch_of(const struct selector *selector, const char *tenant,
        const struct dict *dict, uint32_t series);

/*
 * What is known of many series at once. Does the selector match all of them, none, or does it
 * depend on labels that are not known here?
 */
enum selector_answer { SELECTOR_NONE, SELECTOR_ALL, SELECTOR_DEPENDS };
struct selector_known {
	const char *tenant; /* NULL: none is at hand, as above */
	const char *type;
	const char *service;     /* "": none of them has the label */
	const struct dict *dict; /* that they are all of; NULL: not at hand */
};
enum selector_answer selector_judge(const struct selector *selector, struct selector_known known);

/*
 * -EINVAL with one line when no series can ever match, as far as that can be told: matchers of one
 * label contradict each other, or one refuses everything. What patterns mean together is not told.
 */
int selector_check_possible(const struct selector *selector, char *ret_error, size_t error_bytes);

/* The selector in its normal form. */
void selector_print(const struct selector *selector, struct buf *to);
