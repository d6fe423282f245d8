//! Playing over TCP.

mod playing;

fn come_in(options: vyuha_tests::Options) -> vyuha_tests::Options {
    options
}
