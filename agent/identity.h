#pragma once

/*
 * identity is who this agent is: a uuid that stays the same over restarts, and an epoch that never
 * does.
 *
 * The uuid is, first that works:
 *	1. the text in DIR/agent.uuid (made, random, when DIR can be written)
 *	2. a hash of /etc/machine-id, the same at every start
 *	3. random: a new agent to the aggregator at every start
 *
 * Machines cloned with their disk share 1 and 2; delete agent.uuid and renew machine-id in an
 * image.
 */

#include <stdbool.h>
#include <stdint.h>

#include "profile/wire.h"

#define IDENTITY_DIR_DEFAULT "/var/lib/profleet"

enum identity_source { IDENTITY_FILE = 1, IDENTITY_MACHINE = 2, IDENTITY_RANDOM = 3 };

/* Paths are parameters for tests: NULL is IDENTITY_DIR_DEFAULT and /etc/machine-id. Never fails. */
enum identity_source identity_uuid(
        const char *dir, const char *machine_id_path, struct wire_uuid *ret_uuid);

/* Random, never 0. */
uint64_t identity_epoch(void);

/*
 * Marks in the folder that an agent runs, until identity_stopped(). The descriptor of the mark, to
 * be kept; true in ret_killed when the agent before this one left its own, because it was killed.
 * -EWOULDBLOCK: another one runs with this folder. -errno: the folder cannot be written.
 */
int identity_running(const char *dir, bool *ret_killed);
void identity_stopped(int mark);

/* "550e8400-e29b-41d4-a716-446655440000" with its closing zero: 37 bytes. */
#define IDENTITY_TEXT_BYTES 37
void identity_format(struct wire_uuid uuid, char *ret_text);
