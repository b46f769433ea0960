/* test_sha256.c: the examples of FIPS 180-4, whole and in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/sha256.h"

static void test_known_answers(void **state)
{
    char hex[SHA256_HEX_SIZE];
    (void)state;
    sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    sha256_hex(two, strlen(two), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_pieces(void **state)
{
    char whole[SHA256_HEX_SIZE], pieces[SHA256_HEX_SIZE], data[1000];
    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    sha256_hex(data, sizeof data, whole);
    struct sha256 *s = sha256_create();
    for (size_t at = 0, n = 1; at < sizeof data; at += n, n = (n * 3) % 71 + 1) {
        if (n > sizeof data - at)
            n = sizeof data - at;
        sha256_update(s, data + at, n);
    }
    sha256_update(s, NULL, 0);
    sha256_finish(s, pieces);
    assert_string_equal(whole, pieces);
    sha256_destroy(sha256_create());
    sha256_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_answers), cmocka_unit_test(test_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
