# The image of the sidecar and the operator: compiled JavaScript and Node 24, nothing else, as an ordinary user.
#
#   docker build -t walstorage .        (or podman, or buildah)
#
# Where npm needs a configuration or certificates to reach its registry, pass them as secrets; they stay out of the image:
#   --secret id=npmrc,src=$HOME/.npmrc --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt
FROM node:24-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# Without install scripts: the one that there is would bring the Node that the base image has already.
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    npm ci --ignore-scripts
COPY . .
RUN npm run build && npm prune --omit=dev --ignore-scripts --offline && node image/assemble.ts /image

FROM scratch
LABEL org.opencontainers.image.title="walstorage" \
      org.opencontainers.image.description="Write-ahead log storage for ProximaDB on Kubernetes: sidecar and operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      io.proximadb.wal.sbom="/app/sbom.cdx.json"
COPY --from=build /image/ /
ENV NODE_ENV=production PATH=/usr/local/bin
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["walstorage"]
