#pragma once

/*
 * admin answers ADMIN: a method by name and a JSON body, answered by another. Threads of its own,
 * so that neither ingest nor questions wait for what may take long, and so that who asks does not
 * wait for a backup or a deletion. Which methods there are is a table in admin.c;
 * docs/formats/admin.md has their bodies.
 *
 * There is no authentication yet: whoever may reach the door may do everything, so it is open to
 * loopback alone unless the operator said otherwise.
 */

#include <stdint.h>

#include "aggregator/keeper.h"
#include "core/auto.h"
#include "core/net.h"

struct admin;

enum admin_from { ADMIN_FROM_LOOPBACK, ADMIN_FROM_ANYWHERE, ADMIN_FROM_NOWHERE };

struct admin_options {
	struct store *store;
	struct keeper *keeper;
	enum admin_from from;
	const char *backups;       /* folder; borrowed */
	struct dict_limits limits; /* of the store's dictionary */
};

/* -ENOMEM, -errno. */
int admin_new(struct admin_options options, struct admin **ret_admin);
void admin_stop(struct admin *admin); /* answers what was taken, then waits for the threads */
void admin_free(struct admin *admin);
DEFINE_AUTO(admin);

/* -EBUSY, -ENOMEM: still the caller's to answer. */
int admin_submit(
        struct admin *admin, struct net_request *request, const uint8_t *bytes, size_t count);

struct admin_state {
	uint64_t waiting; /* requests */
	uint64_t refused; /* told BUSY because as many waited as may */
};

struct admin_state admin_state(struct admin *admin);
