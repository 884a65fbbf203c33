/* turn_lock: who came first goes first, and whoever passes comes behind all who waited. */

#include "tests/lib/test.h"

#include <pthread.h>
#include <sched.h>

#include "storage/turn_lock.h"

#define OTHERS 4

struct shop {
	struct turn_lock lock;
	char order[OTHERS + 4]; /* who was inside, one after the other; under the lock */
	uint32_t count;
};

struct customer {
	struct shop *shop;
	char name;
	pthread_t thread;
};

static void shop_note(struct shop *shop, char name)
{
	shop->order[shop->count++] = name;
	shop->order[shop->count] = 0;
}

static void *customer_run(void *owner)
{
	struct customer *customer = owner;
	turn_lock_enter(&customer->shop->lock);
	shop_note(customer->shop, customer->name);
	turn_lock_leave(&customer->shop->lock);
	return NULL;
}

/* Starts `count` customers a, b, ... who all wait, in this order. */
static void shop_let_wait(struct shop *shop, struct customer *customers, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		customers[i] = (struct customer){ .shop = shop, .name = (char)('a' + i) };
		assert_int_equal(
		        pthread_create(&customers[i].thread, NULL, customer_run, &customers[i]), 0);
		while (turn_lock_waiting(&shop->lock) <= i)
			sched_yield();
	}
}

static void who_waits_comes_in_the_order_of_coming(void **state)
{
	struct shop shop = { .count = 0 };
	struct customer customers[OTHERS];
	turn_lock_init(&shop.lock);
	turn_lock_enter(&shop.lock);
	shop_let_wait(&shop, customers, OTHERS);
	shop_note(&shop, '1');
	turn_lock_leave(&shop.lock);
	for (uint32_t i = 0; i < OTHERS; i++)
		pthread_join(customers[i].thread, NULL);
	assert_string_equal(shop.order, "1abcd");
	turn_lock_fini(&shop.lock);
	(void)state;
}

static void whoever_passes_comes_behind_all_who_waited(void **state)
{
	struct shop shop = { .count = 0 };
	struct customer customers[OTHERS];
	turn_lock_init(&shop.lock);
	turn_lock_enter(&shop.lock);
	turn_lock_pass(&shop.lock); /* nobody waits */
	shop_note(&shop, '1');
	shop_let_wait(&shop, customers, OTHERS);
	turn_lock_pass(&shop.lock);
	shop_note(&shop, '2');
	assert_int_equal(turn_lock_waiting(&shop.lock), 0);
	turn_lock_leave(&shop.lock);
	for (uint32_t i = 0; i < OTHERS; i++)
		pthread_join(customers[i].thread, NULL);
	assert_string_equal(shop.order, "1abcd2");
	turn_lock_fini(&shop.lock);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits_comes_in_the_order_of_coming),
		cmocka_unit_test(whoever_passes_comes_behind_all_who_waited),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
