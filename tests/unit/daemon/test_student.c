/* Student's t against values from outside: SciPy 1.10.1 (scipy.stats.t.sf), and printed tables. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "daemon/student.h"

static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 2e-12 * fabs(expected)))
        fail_msg("%.17g is not %.17g", value, expected);
}

/* Where t.sf(t, freedom) is 1 - p, by scipy.optimize.brentq: t.ppf of that version is good to eight digits only. */
static const double freedoms[] = {1, 2, 3, 4, 5, 7, 10, 30, 100};
static const struct {
    double p, t[sizeof freedoms / sizeof *freedoms];
} scipy_quantiles[] = {
    {0.8,
     {1.376381920471174, 1.0606601717798214, 0.978472312363305, 0.9409645772351813, 0.919543780240825,
      0.8960296443137655, 0.8790578285505889, 0.8537672614712977, 0.8452304244910166}},
    {0.9,
     {3.0776835371752513, 1.8856180831641243, 1.6377443536962095, 1.5332062740589434, 1.4758840488244802,
      1.4149239276505086, 1.3721836411103356, 1.310415025391396, 1.290074761346516}},
    {0.95,
     {6.313751514675037, 2.919985580353725, 2.353363434801823, 2.1318467863266504, 2.015048373333023,
      1.8945786050900055, 1.812461122811678, 1.6972608865939574, 1.6602343260853392}},
    {0.975,
     {12.706204736174692, 4.302652729749462, 3.182446305283708, 2.776445105197793, 2.570581835636315, 2.364624251592785,
      2.2281388519862735, 2.042272456301238, 1.983971518523552}},
    {0.99,
     {31.82051595377393, 6.964556734283271, 4.540702858568132, 3.746947387979196, 3.3649299989072174,
      2.9979515668685246, 2.7637694581126953, 2.457261542400591, 2.3642173662384818}},
    {0.995,
     {63.65674116287154, 9.92484320091829, 5.840909309733355, 4.604094871349992, 4.032142983555227, 3.499483297350493,
      3.16927267261695, 2.7499956535672254, 2.625890521438017}},
    {0.999,
     {318.3088389855502, 22.32712477011986, 10.214531852407383, 7.173182219782307, 5.893429531356007, 4.785289628638333,
      4.143700494046589, 3.385184866829305, 3.173739493738782}},
    {0.9995,
     {636.6192487687898, 31.59905457644536, 12.923978636687963, 8.610301581379524, 6.868826625881275, 5.407882520861827,
      4.586893858702707, 3.6459586350420623, 3.390491311164263}},
};

static void quantiles_are_scipys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof scipy_quantiles / sizeof *scipy_quantiles; i++)
        for (size_t k = 0; k < sizeof freedoms / sizeof *freedoms; k++)
            assert_near(student_critical(2 * (1 - scipy_quantiles[i].p), freedoms[k]), scipy_quantiles[i].t[k]);
}

static void chances_are_scipys(void **state)
{
    (void)state;
    static const double known[][3] = {
        {1, 0.5, 0.7048327646991336},          {2, 3.0, 0.09546596626670911},     {2, 4.302652729749464, 0.05},
        {4, -2.1, 0.10365328631760218},        {9, 0.01, 0.9922394455363253},     {29, 6.5, 4.080403820733433e-07},
        {1, 1000000.0, 6.366197723673691e-07}, {50, 12.0, 2.462380625332536e-16},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_near(student_two_sided(known[i][1], known[i][0]), known[i][2]);
    assert_true(fabs(student_two_sided(1.96, 1e6) - 0.04999606758526978) < 1e-10);
}

/* NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, three decimals. */
static void printed_tables_agree(void **state)
{
    (void)state;
    static const double table[][3] = {{1, 0.975, 12.706}, {2, 0.975, 4.303},  {4, 0.975, 2.776},
                                      {9, 0.975, 2.262},  {20, 0.995, 2.845}, {60, 0.95, 1.671}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_true(fabs(student_critical(2 * (1 - table[i][1]), table[i][0]) - table[i][2]) <= 0.0005001);
}

static void ends_are_told(void **state)
{
    (void)state;
    assert_true(student_two_sided(0, 3) == 1);
    assert_true(student_two_sided(INFINITY, 3) == 0 && student_two_sided(-INFINITY, 3) == 0);
    assert_true(isnan(student_two_sided(NAN, 3)) && isnan(student_two_sided(1, 0)));
    assert_true(isnan(student_critical(0, 3)) && isnan(student_critical(1, 3)) && isnan(student_critical(0.05, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_scipys),
        cmocka_unit_test(chances_are_scipys),
        cmocka_unit_test(printed_tables_agree),
        cmocka_unit_test(ends_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
