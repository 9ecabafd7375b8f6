# The image of the controller. Both bases are build arguments, and need the same C library:
#   BUILDER_IMAGE   cargo, gcc, make, perl             RUNTIME_IMAGE   libc6, libgcc, ca-certificates
# zlib, libgit2, libssh2 and OpenSSL are part of the binary.
# With BINARY_STAGE=prebuilt nothing is compiled: dist/slipway of the context goes into the image, and the builder is not used.
ARG BUILDER_IMAGE=docker.io/library/rust:1.89-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG BINARY_STAGE=builder

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin slipway && cp target/release/slipway /slipway

FROM scratch AS prebuilt
COPY dist/slipway /slipway

FROM ${BINARY_STAGE} AS binary

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title=slipway \
      org.opencontainers.image.description="Brings each cluster to the versions that git declares" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
COPY --from=binary /slipway /usr/bin/slipway
USER 65532:65532
ENTRYPOINT ["/usr/bin/slipway"]
