#pragma once

/*
 * delivery is what the shipper's thread does, without the thread: it owns the spool and one session
 * with an aggregator, and does one exchange per step. Time, chance and network come from outside,
 * so tests drive it through any weather.
 *
 * A session is only a dictionary that both ends keep. Whenever the two may disagree (a lost reply,
 * a refusal of a whole message) it is thrown away, and what is not confirmed is sent again in a new
 * one under the same ids; the aggregator answers DUP for what it has.
 *
 * One thread owns a delivery.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agent/shipper.h"
#include "agent/spool.h"
#include "core/auto.h"
#include "core/clock.h"

struct delivery;

struct delivery_options {
	struct shipper_options shipper; /* clock and transport are set; text is borrowed */
	/* A build-id the aggregator wants symbols for: untrusted text. */
	void (*wanted)(void *owner, const char *build_id, size_t count);
	void *wanted_owner;
};

/* As shipper_new(). */
int delivery_new(struct delivery_options options, struct delivery **ret_delivery, char *ret_error,
        size_t error_bytes);
void delivery_free(struct delivery *delivery);
DEFINE_AUTO(delivery);

/* batch_encode_whole(). What cannot be kept is counted. */
void delivery_add(struct delivery *delivery, const uint8_t *bytes, size_t count);

/* Samples that never came here: given up by the shipper itself, or lost before and counted there.
 */
struct delivery_losses {
	uint64_t ours[LOSS_REASON_MAX + 1];
	uint64_t earlier[LOSS_REASON_MAX + 1];
};

void delivery_add_losses(struct delivery *delivery, const struct delivery_losses *losses);

/* For a batch that cannot be kept. */
void delivery_losses_add(
        struct delivery_losses *losses, const struct batch *batch, enum loss_reason reason);

/*
 * Does what is due: at most one exchange that takes at most `timeout_ms`. Returns when it wants to
 * be called next (monotonic), DELIVERY_IDLE when only a new batch can make it useful.
 */
#define DELIVERY_IDLE UINT64_MAX
uint64_t delivery_step(struct delivery *delivery, uint32_t timeout_ms);

/* From now on do not wait longer than needed between tries: the agent is about to end. */
void delivery_hurry(struct delivery *delivery);

/* Nothing is left that an aggregator has not confirmed. */
bool delivery_is_done(const struct delivery *delivery);

struct shipper_state delivery_state(const struct delivery *delivery);
