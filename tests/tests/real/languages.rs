//! The contract in every language, on a real API server.

use tenure_tests::scenes::languages;
use tenure_tests::{RealApi, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_of_each_language_calls_every_function_and_meets_every_error() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, languages::options()).await.staffed(1).await;
    languages::every_guest_says_the_same(world).await;
}
