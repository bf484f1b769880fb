//! What agent and collector say to each other: OTLP services, the batch header, the proof, the agent's configuration document.
