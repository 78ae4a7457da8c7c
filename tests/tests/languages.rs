//! The contract in every language, on the API in memory.

use tenure_tests::World;
use tenure_tests::scenes::languages;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_each_language_calls_every_function_and_meets_every_error() {
    let world = World::with_replicas(1, languages::options()).await;
    languages::every_guest_says_the_same(world).await;
}
